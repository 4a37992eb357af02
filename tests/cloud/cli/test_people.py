"""`covey-hub user`, `tenant` and `api-token` against a running hub; passwords never on the command line."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyotp
import pytest

from cloud.__main__ import run
from tests.support.ports import free_port
from tests.support.real_hub import PROGRAM, ROOT, RealHub

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"
WAIT_S = 60


@dataclass
class Terminal:
    """Somebody at the hub's machine."""

    hub: RealHub
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> str:
        """What a command printed; it must have done what it was told."""
        code, out, err = self.tried(*arguments)
        assert code == 0, err
        return out

    def tried(self, *arguments: str) -> tuple[int, str, str]:
        code = run(["--home", str(self.hub.home), *arguments])
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    settings = {"mqtt_url": f"mqtts://localhost:{free_port()}", "dashboard": "off"}
    home = tmp_path_factory.mktemp("people") / "hub"
    with RealHub(home, settings=settings, command=("serve", "--role", "api")) as hub:
        yield hub


@pytest.fixture
def terminal(running: RealHub, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(running, capsys)


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\nanother line\n")
    return str(file)


def test_a_user_from_its_making_to_its_end(terminal: Terminal, password_file: str) -> None:
    terminal("tenant", "create", "acme")
    made = terminal(
        "user", "create", "ada", "--tenant", "main", "--role", "operator", "--password-file", password_file
    )
    assert "operator in main" in made
    assert "operator in main, viewer in acme" in terminal(
        "user", "grant", "ada", "--role", "viewer", "--tenant", "acme"
    ).replace("viewer in acme, operator in main", "operator in main, viewer in acme")
    assert terminal.json("tenant", "list")[0]["people"] == 1
    terminal("user", "revoke", "ada", "--tenant", "acme")
    assert "disabled" in terminal("user", "disable", "ada")
    assert "active" in terminal("user", "enable", "ada")
    assert [user["name"] for user in terminal.json("user", "list")] == ["ada"]
    assert terminal.json("user", "show", "ada")["roles"] == [{"tenant": "main", "role": "operator"}]
    terminal("user", "set-password", "ada", "--password-file", password_file)
    terminal("user", "delete", "ada")
    code, _, err = terminal.tried("user", "show", "ada")
    assert (code, "There is no user ada" in err) == (77, True)
    terminal("tenant", "delete", "acme")


@pytest.mark.parametrize("name", ["../x", "..", ".", "", "a/b", "\x1b[2J", "A", "a.b.c", "%2e%2e", "x" * 80])
@pytest.mark.parametrize(
    "command",
    [("device", "approve"), ("device", "show"), ("user", "show"), ("tenant", "delete"), ("token", "revoke")],
    ids=" ".join,
)
def test_what_is_no_name_is_said_in_a_sentence(
    terminal: Terminal, command: tuple[str, str], name: str
) -> None:
    code, out, err = terminal.tried(*command, "--", name)
    assert (code in (76, 77, 78), out) == (True, "")
    assert err.startswith("covey-hub: ")
    assert "Not Found" not in err
    assert "\x1b" not in err
    if command[0] == "device":
        assert "is not the name of a device" in " ".join(err.split())


def test_a_password_comes_from_standard_input_too(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{PASSWORD}\n".encode())))
    terminal("user", "create", "eve", "--password-file", "-")
    assert terminal.json("user", "show", "eve")["has_password"] is True
    terminal("user", "delete", "eve")


def test_a_weak_password_and_a_missing_file_are_told_in_a_sentence(
    terminal: Terminal, tmp_path: Path
) -> None:
    weak = tmp_path / "weak"
    weak.write_text("passwordpassword")
    code, _, err = terminal.tried("user", "create", "eve", "--password-file", str(weak))
    assert (code, "guessed first" in err, "passwordpassword" in err) == (76, True, False)
    code, _, err = terminal.tried("user", "create", "eve", "--password-file", str(tmp_path / "nothing"))
    assert (code, "cannot be read as a password" in err) == (78, True)
    code, _, err = terminal.tried("user", "create", "Eve!", "--password-file", str(weak))
    assert (code, err.startswith("covey-hub: name:")) == (2, True)


def test_there_is_no_option_that_takes_a_password() -> None:
    for command in ("create", "set-password"):
        told = subprocess.run(
            [*PROGRAM, "user", command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
        )
        assert set(re.findall(r"--password\S*", told.stdout)) == {"--password-file"}


def test_codes_are_enrolled_with_a_picture_and_the_first_code(terminal: Terminal, password_file: str) -> None:
    terminal("user", "create", "bob", "--password-file", password_file)
    command = [*PROGRAM, "--home", str(terminal.hub.home), "user", "totp", "bob"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        shown = ""
        while (found := re.search(r"type the secret in: (\w+)", shown)) is None:
            line = process.stderr.readline()
            assert line, shown
            shown += line
        code = pyotp.TOTP(found[1]).at(datetime.now(tz=UTC))
        out, _ = process.communicate(f"{code[:3]} {code[3:]}\n", timeout=WAIT_S)
    assert process.returncode == 0
    assert "█" in shown or "▄" in shown
    assert found[1] not in out
    assert "password + code" in out
    assert terminal.json("user", "totp-reset", "bob")["has_totp"] is False
    terminal("user", "delete", "bob")


def test_a_token_is_shown_once_and_works_in_place_of_the_admins(terminal: Terminal, tmp_path: Path) -> None:
    created = ("api-token", "create", "--label", "ci", "--role", "viewer", "--tenant", "main", "--ttl", "30d")
    token = terminal(*created).strip()
    token_id = token.split(".")[1]
    listed = terminal("api-token", "list")
    assert token_id in listed
    assert token not in listed
    file = tmp_path / "token"
    file.write_text(token)
    assert terminal("--token-file", str(file), "whoami").strip() == f"token:{token_id} in tenant main: read"
    code, _, err = terminal.tried("--token-file", str(file), "user", "list")
    assert (code, "permission to administer" in err) == (77, True)
    assert "revoked" in terminal("api-token", "revoke", token_id)
    assert terminal.tried("--token-file", str(file), "whoami")[0] == 77
    assert terminal("whoami").startswith("root in all tenants: administer")


def test_somebody_signs_in_and_is_known_by_the_file(
    terminal: Terminal, password_file: str, tmp_path: Path
) -> None:
    terminal(
        "user", "create", "eve", "--tenant", "main", "--role", "viewer", "--password-file", password_file
    )
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    file = Path(terminal("sign-in", "eve", "--password-file", password_file).strip())
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert terminal("--token-file", str(file), "whoami").strip().endswith("in tenant main: read")
    made = terminal.json("sign-in", "eve", "--password-file", password_file, "--ttl", "1h")
    assert made["view"]["created_by"] == "eve"
    pasted, kept = tmp_path / "pasted", tmp_path / "kept"
    pasted.write_text(f"{made['token']}\n")
    from_page = ("sign-in", "eve", "--from-page", "--password-file", str(pasted), "--out", str(kept))
    assert terminal(*from_page).strip() == str(kept)
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (made["token"], 0o600)
    assert " of eve in tenant main: read" in terminal("--token-file", str(kept), "whoami")
    code, _, err = terminal.tried("sign-in", "ada", "--from-page", "--password-file", str(pasted))
    assert (code, "not a token of ada" in err) == (78, True)
    pasted.write_text(made["token"][:-1])
    code, _, err = terminal.tried(*from_page)
    assert (code, "not a whole token" in err, made["token"][:-1] in err) == (78, True, False)
    (tmp_path / "password").write_text("not the password\n")
    assert terminal.tried("sign-in", "eve", "--password-file", password_file)[0] == 77
    assert terminal.tried("sign-in", "../eve", "--password-file", password_file)[0] == 78
