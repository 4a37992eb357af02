"""`covey-edge enroll`, as a person types it, with tokens that are good for nothing: one sentence and an exit code."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.identity import load_identity
from edge.key_files import NEXT_CERTIFICATE, NEXT_TLS_KEY
from edge.vault_key import memory_key
from shared.enrolment import Token
from tests.support.ports import free_port
from tests.support.real_hub import RealHub, edge_command, hub_command

pytestmark = [pytest.mark.broker, pytest.mark.slow]

NOT_THERE, WRONG_PEER, REFUSED, WRONG_SETTINGS = 69, 76, 77, 78

Command = subprocess.CompletedProcess[str]


def enroll(home: Path, token: str, *more: str) -> Command:
    return edge_command("enroll", "--home", home, "--token", token, *more)


def says(done: Command, code: int, *words: str) -> None:
    """It ended with this code, and said one sentence to a person, with these words in it."""
    assert (done.returncode, done.stdout) == (code, "")
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("covey-edge: ")
    assert lines[0].endswith(".")
    for word in words:
        assert word in lines[0]


def is_not_enrolled(home: Path) -> bool:
    return load_identity(home / "identity") is None


def test_a_token_from_the_command_line_is_good_for_one_device(real_hub: RealHub, tmp_path: Path) -> None:
    created = hub_command(real_hub, "token", "create", "--device", "counter-1", "--ttl", "1h")
    assert created.returncode == 0, created.stderr

    done = enroll(tmp_path / "first", created.stdout.strip())
    assert (done.returncode, done.stderr) == (0, "")
    assert "main.counter-1" in done.stdout
    assert real_hub.device("counter-1")["status"] == "active"

    says(enroll(tmp_path / "second", created.stdout.strip()), REFUSED, "has been used")
    assert is_not_enrolled(tmp_path / "second")


def test_an_expired_token_is_refused(real_hub: RealHub, tmp_path: Path) -> None:
    created = real_hub.post("/v1/tokens", {"device": "late-1", "ttl_s": 1})
    expires_at = datetime.fromisoformat(created["expires_at"])
    real_hub.process.wait_until(lambda: datetime.now(UTC) > expires_at, "to let a token expire", timeout_s=10)

    says(enroll(tmp_path / "late", created["token"]), REFUSED, "has expired", "token create")
    assert is_not_enrolled(tmp_path / "late")


Forge = Callable[[Token, Token], Token]

FORGED: dict[str, Forge] = {
    "another secret": lambda token, _other: token.model_copy(update={"secret": bytes(32)}),
    "another id": lambda token, _other: token.model_copy(update={"id": "a" * 16}),
    "the secret of another token": lambda token, other: token.model_copy(update={"secret": other.secret}),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_token_is_refused_and_spends_nothing(how: str, real_hub: RealHub, tmp_path: Path) -> None:
    name = how.replace(" ", "-")
    token = Token.parse(real_hub.token(name))
    other = Token.parse(real_hub.token(f"{name}-2"))

    says(enroll(tmp_path / "forger", FORGED[how](token, other).text()), REFUSED, "does not know this token")

    assert is_not_enrolled(tmp_path / "forger")
    assert enroll(tmp_path / "owner", token.text()).returncode == 0


def test_a_token_with_the_fingerprint_of_another_ca_stops_before_the_secret_is_sent(
    real_hub: RealHub, tmp_path: Path
) -> None:
    token = Token.parse(real_hub.token("careful-1"))
    wrong = token.model_copy(update={"ca": bytes(32)})

    says(enroll(tmp_path / "careful", wrong.text()), WRONG_PEER, "another fingerprint")

    assert is_not_enrolled(tmp_path / "careful")
    # The secret did not leave the device: the token is still good.
    assert enroll(tmp_path / "careful", token.text()).returncode == 0


def test_a_token_cut_in_copying_says_so(real_hub: RealHub, tmp_path: Path) -> None:
    token = real_hub.token("cut-1")
    for text in (token[:-9], token[9:], "", "covey1."):
        says(enroll(tmp_path / "cut", text), WRONG_SETTINGS, "copy the whole line")


def test_a_device_that_is_enrolled_stays_what_it_is(real_hub: RealHub, tmp_path: Path) -> None:
    identity = real_hub.enrol("loyal-1", tmp_path / "loyal")
    token = real_hub.token("loyal-2")

    says(enroll(tmp_path / "loyal", token), REFUSED, "already enrolled")

    kept = load_identity(tmp_path / "loyal" / "identity")
    assert kept is not None
    assert (kept.principal, kept.signer.public) == (identity.principal, identity.signer.public)


def test_a_device_that_joins_anew_has_other_keys_and_can_still_read_what_it_remembers(
    real_hub: RealHub, tmp_path: Path
) -> None:
    before = real_hub.enrol("anew-1", tmp_path / "anew")
    files = before.files
    remembers_with = memory_key(files)
    of_the_hub_before = dict.fromkeys((NEXT_TLS_KEY, NEXT_CERTIFICATE), b"of the enrolment before")
    files.store(of_the_hub_before)  # a renewal that had not come to its end

    assert enroll(tmp_path / "anew", real_hub.token("anew-2"), "--anew").returncode == 0

    after = load_identity(tmp_path / "anew" / "identity")
    assert after is not None
    assert str(after.principal).endswith("anew-2")
    assert after.signer.public != before.signer.public
    assert memory_key(after.files) == remembers_with
    assert not any(after.files.has(name) for name in of_the_hub_before)


def test_a_token_for_one_device_does_not_make_another(real_hub: RealHub, tmp_path: Path) -> None:
    token = real_hub.token("named-1")
    says(enroll(tmp_path / "thief", token, "--device", "named-2"), REFUSED, "named-1")
    assert enroll(tmp_path / "right", token, "--device", "named-1").returncode == 0


def test_a_hub_that_is_not_there_is_said_so(real_hub: RealHub, tmp_path: Path) -> None:
    token = real_hub.token("alone-1")
    says(
        enroll(tmp_path / "alone", token, "--hub", f"https://localhost:{free_port()}"),
        NOT_THERE,
        "does not answer",
    )
    assert is_not_enrolled(tmp_path / "alone")
