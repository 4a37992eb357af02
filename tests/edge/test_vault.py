"""The device's secrets: stored encrypted, lent for a call, ordered by the hub, covered everywhere else."""

import asyncio
import json
import pickle
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.adapters.store_sqlite.secret_rows import SqliteSecrets
from edge.core.scrub import Scrubber
from edge.core.turn import ToolSpec
from edge.dispatch import Dispatcher
from edge.key_files import SECRETS_KEY, KeyFiles
from edge.ports import Draft, StoredSecret
from edge.scrubbed import ScrubbedJournal, ScrubbedModel, scrubbed_output
from edge.tools import ToolWithSecrets
from edge.vault import SecretHandle, Vault
from edge.vault_key import open_vault_key
from shared.blobs import Blob
from shared.errors import ConfigError, RefusedError
from shared.ids import Lane
from shared.inference.ports import Finished, Generation, Message, TextDelta
from shared.records import (
    Record,
    SecretForgotten,
    SecretRefused,
    SecretRemoved,
    SecretSet,
    SecretStored,
    TaskCreated,
    ToolIntent,
    ToolResult,
    parse_record,
)
from shared.sealed_box import Sealing, open_secret, seal_secret
from shared.tasks.limits import Limits
from tests.support.clock import ManualClock
from tests.support.device import signer_from, task_id_from
from tests.support.edge_database import open_store
from tests.support.hub import ScriptedHub
from tests.support.model import ScriptedModel
from tests.support.rules import open_flow, open_judge

PRINCIPAL = "main.till-1"
NAME = "POS_TOKEN"
VALUE = "correct-horse-battery"
TASK = task_id_from("task")


@dataclass
class Device:
    vault: Vault
    store: SqliteSecrets
    journal: SqliteJournal
    hub: ScriptedHub
    key: X25519PrivateKey
    files: KeyFiles

    async def sets(self, value: str = VALUE, *, name: str = NAME, version: int = 1, **forged: Any) -> None:
        """The hub orders a secret. `forged`: what the box is made for instead."""
        sealing = Sealing(**{"device": PRINCIPAL, "name": name, "version": version, **forged})
        box = Blob(
            salt=bytes(16), content=seal_secret(self.key.public_key().public_bytes_raw(), value, sealing)
        )
        await self.takes(SecretSet(at_ms=1, name=name, version=version, box=box.ref()), box)

    async def takes(self, order: Any, *blobs: Blob) -> None:
        first = self.hub.order(order, *blobs)
        await self.journal.receive(self.hub.batch_of_orders(first=first))
        await self.vault.refresh()

    async def set_here(self, value: str, *, name: str = NAME) -> None:
        """What `covey-edge secret set` does."""
        key = open_vault_key(self.files, makes=True)
        assert key is not None
        at = ManualClock().now()
        secret = StoredSecret(name=name, version=0, sealed=key.seal(name, 0, value), at=at, is_told=False)
        await self.store.put([secret])
        await self.vault.refresh()

    async def answers(self) -> list[Record]:
        """What the journal says about secrets."""
        entries = await self.journal.tail(Lane.JOURNAL, after=0, limit=100)
        records = [parse_record(entry.record) for entry in entries]
        return [each for each in records if isinstance(each, SecretStored | SecretRefused | SecretForgotten)]

    def value(self, name: str = NAME) -> str:
        with self.vault.lend([name]) as handles:
            return handles[name].reveal()


@asynccontextmanager
async def device_in(home: Path, *, has_sealing_key: bool = True) -> AsyncIterator[Device]:
    home.mkdir(exist_ok=True)
    key, files = X25519PrivateKey.generate(), KeyFiles(home / "identity")
    database = await asyncio.to_thread(open_store, home / "store.sqlite")
    try:
        journal = await asyncio.to_thread(SqliteJournal, database, principal=PRINCIPAL)
        store = SqliteSecrets(database)

        def open_box(name: str, version: int, box: bytes) -> str:
            return open_secret(key, box, Sealing(device=PRINCIPAL, name=name, version=version))

        vault = Vault(
            store=store,
            journal=journal,
            clock=ManualClock(),
            open_key=lambda makes: open_vault_key(files, makes=makes),
            open_box=open_box if has_sealing_key else None,
        )
        await vault.refresh()
        hub = ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public)
        yield Device(vault, store, journal, hub, key, files)
    finally:
        await asyncio.to_thread(database.close)


# --- from the hub ---


async def test_p26_a_secret_from_the_hub_is_opened_stored_and_answered(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.sets()
        assert device.value() == VALUE
        assert device.vault.names == (NAME,)
        (answer,) = await device.answers()
        assert isinstance(answer, SecretStored)
        assert (answer.name, answer.version, len(answer.causes)) == (NAME, 1, 1)
        assert await device.store.orders() == ()
    async with device_in(tmp_path) as device:
        assert device.value() == VALUE, "it outlives the process"


@pytest.mark.parametrize(
    "forged",
    [{"device": "main.till-2"}, {"name": "OTHER_TOKEN"}, {"version": 7}],
    ids=["device", "name", "version"],
)
async def test_p26_a_box_for_another_is_refused_and_the_old_value_stays(
    tmp_path: Path, forged: dict[str, Any]
) -> None:
    async with device_in(tmp_path) as device:
        await device.sets("the-value-before")
        name = forged.pop("name", NAME)
        sealing = Sealing(**{"device": PRINCIPAL, "name": name, "version": 2, **forged})
        box = Blob(
            salt=bytes(16), content=seal_secret(device.key.public_key().public_bytes_raw(), VALUE, sealing)
        )
        await device.takes(SecretSet(at_ms=1, name=NAME, version=2, box=box.ref()), box)
        assert device.value() == "the-value-before"
        *_, answer = await device.answers()
        assert isinstance(answer, SecretRefused)
        assert (answer.version, answer.reason) == (2, "box_unreadable")


async def test_a_box_that_did_not_come_or_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    box = Blob(salt=bytes(16), content=b"x" * 60)
    order = SecretSet(at_ms=1, name=NAME, version=1, box=box.ref())
    async with device_in(tmp_path / "one") as device:
        await device.takes(order)
        (answer,) = await device.answers()
        assert isinstance(answer, SecretRefused)
        assert answer.reason == "content_missing"
    async with device_in(tmp_path / "other", has_sealing_key=False) as device:
        await device.takes(order, box)
        (answer,) = await device.answers()
        assert isinstance(answer, SecretRefused)
        assert answer.reason == "sealing_key_missing"


async def test_a_box_is_kept_nowhere_once_it_was_opened(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.sets()
        (order,) = await device.journal.tail(Lane.ORDERS, after=0, limit=10)
        record = parse_record(order.record)
        assert isinstance(record, SecretSet)
        assert await device.journal.blob(record.box) is None


async def test_a_secret_that_the_hub_removes_is_gone(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.sets()
        await device.takes(SecretRemoved(at_ms=2, name=NAME, version=2))
        assert device.vault.names == ()
        assert await device.store.secrets() == ()
        assert isinstance((await device.answers())[-1], SecretForgotten)


async def test_several_orders_are_carried_out_in_their_order(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.sets("first-value-1", version=1)
        await device.sets("second-value-2", version=2)
        await device.takes(SecretRemoved(at_ms=2, name=NAME, version=3))
        await device.sets("last-value-4", version=4)
        assert device.value() == "last-value-4"
        assert [answer.version for answer in await device.answers() if hasattr(answer, "version")] == [
            1,
            2,
            3,
            4,
        ]


# --- on the device ---


async def test_the_hub_learns_of_what_a_person_set_and_removed(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.set_here(VALUE)
        await device.vault.refresh()
        (answer,) = await device.answers()
        assert isinstance(answer, SecretStored)
        assert (answer.version, answer.causes) == (0, ())
        gone = StoredSecret(name=NAME, version=0, sealed=None, at=ManualClock().now(), is_told=False)
        await device.store.put([gone])
        await device.vault.refresh()
        assert isinstance((await device.answers())[-1], SecretForgotten)
        assert await device.store.secrets() == ()


async def test_the_store_holds_no_value_and_a_row_under_another_name_does_not_open(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.set_here(VALUE)
        (held,) = await device.store.secrets()
        assert held.sealed is not None
        assert VALUE.encode() not in held.sealed
        key = open_vault_key(device.files, makes=False)
        assert key is not None
        assert key.open(NAME, 0, held.sealed) == VALUE
        for name, version in (("OTHER", 0), (NAME, 1)):
            with pytest.raises(ConfigError, match="set it again"):
                key.open(name, version, held.sealed)


async def test_a_device_whose_key_is_gone_says_so_and_what_to_do(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.set_here(VALUE)
        device.files.path(SECRETS_KEY).unlink()
        await device.vault.refresh()
        assert device.vault.names == ()
        assert "set it again with `covey-edge secret set POS_TOKEN`" in (device.vault.problem or "")


async def test_the_key_is_encrypted_with_the_passphrase_of_the_others(tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("a passphrase\n")
    files = KeyFiles(tmp_path / "identity", passphrase)
    key = open_vault_key(files, makes=True)
    assert key is not None
    assert files.is_encrypted() == {SECRETS_KEY: True}
    sealed = key.seal(NAME, 0, VALUE)
    again = open_vault_key(files, makes=False)
    assert again is not None
    assert again.open(NAME, 0, sealed) == VALUE
    with pytest.raises(ConfigError, match="passphrase"):
        open_vault_key(KeyFiles(tmp_path / "identity"), makes=False)


# --- lending ---


async def test_a_tool_is_lent_what_it_declares_for_the_time_of_the_call(tmp_path: Path) -> None:
    kept: list[SecretHandle] = []

    async def call(
        _: Mapping[str, object], __: str, secrets: Mapping[str, SecretHandle]
    ) -> dict[str, object]:
        assert list(secrets) == [NAME]
        kept.extend(secrets.values())
        return {"length": len(secrets[NAME].reveal())}

    async with device_in(tmp_path) as device:
        await device.set_here(VALUE)
        await device.set_here("another-value", name="NOT_DECLARED")
        assert await called(device, call) == (True, {"length": len(VALUE)})
    (handle,) = kept
    with pytest.raises(RefusedError, match="over"):
        handle.reveal()


async def test_a_missing_secret_is_one_refusal_that_names_the_command(tmp_path: Path) -> None:
    async def call(_: Mapping[str, object], __: str, ___: Mapping[str, SecretHandle]) -> dict[str, object]:
        raise AssertionError("it is not called")

    async with device_in(tmp_path) as device:
        ok, result = await called(device, call)
    assert not ok
    assert result == {
        "error": "This device holds no secret POS_TOKEN; set it with `covey-edge secret set POS_TOKEN`."
    }


async def test_arguments_that_the_model_invents_are_covered_before_the_tool_sees_them(tmp_path: Path) -> None:
    seen: list[object] = []

    async def call(
        arguments: Mapping[str, object], _: str, __: Mapping[str, SecretHandle]
    ) -> dict[str, object]:
        seen.append(arguments)
        return {}

    async with device_in(tmp_path) as device:
        await device.set_here(VALUE)
        await called(device, call, arguments={"url": f"https://example.org/?q={VALUE}"})
        entries = await device.journal.tail(Lane.JOURNAL, after=0, limit=100)
        intent = next(r for r in (parse_record(e.record) for e in entries) if isinstance(r, ToolIntent))
        blob = await device.journal.blob(intent.arguments)
    assert seen == [{"url": "https://example.org/?q=[secret POS_TOKEN]"}]
    assert blob is not None
    assert VALUE not in blob.text()


async def test_a_secret_that_changes_during_the_call_is_covered_in_both_values(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:

        async def call(
            _: Mapping[str, object], __: str, secrets: Mapping[str, SecretHandle]
        ) -> dict[str, object]:
            old = secrets[NAME].reveal()
            await device.set_here("the-value-after")
            return {"old": old, "new": "the-value-after"}

        await device.set_here(VALUE)
        _, result = await called(device, call)
    assert result == {"old": "[secret POS_TOKEN]", "new": "[secret POS_TOKEN]"}


def test_a_handle_shows_and_stores_nothing() -> None:
    handle = SecretHandle(NAME, VALUE)
    assert VALUE not in f"{handle} {handle!r} {[handle]}"
    with pytest.raises(TypeError):
        pickle.dumps(handle)
    with pytest.raises(TypeError):
        json.dumps({"secret": handle})


async def called(
    device: Device, call: Any, *, arguments: Mapping[str, object] | None = None
) -> tuple[bool, Any]:
    """What came of a call by the dispatcher, as the journal has it."""
    spec = ToolSpec(name="pay", description="Pay.", choices=({},), is_idempotent=False)
    dispatcher = Dispatcher(
        tools=[ToolWithSecrets(spec, call, secrets=(NAME,))],
        journal=device.journal,
        clock=ManualClock(),
        judge=open_judge(ManualClock()),
        secrets=device.vault,
    )
    seq = await dispatcher.call(
        task=TASK, node=0, call=0, tool="pay", arguments=arguments or {}, causes=(), flow=open_flow(TASK)
    )
    assert seq is not None
    (entry,) = await device.journal.tail(Lane.JOURNAL, after=seq - 1, limit=1)
    record = parse_record(entry.record)
    assert isinstance(record, ToolResult)
    blob = await device.journal.blob(record.result)
    assert blob is not None
    return record.ok, json.loads(blob.content)


# --- the doors ---


async def test_the_journal_takes_no_content_with_a_secret(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.set_here(VALUE)
        journal = ScrubbedJournal(device.journal, lambda: device.vault.scrubber)
        goal = Blob(salt=bytes(16), content=f"Sign in with {VALUE}".encode())
        record = TaskCreated(at_ms=1, task=TASK, goal=goal.ref(), limits=Limits())
        (seq,) = await journal.append(Draft(record, (goal,)), durable=True)
        (entry,) = await device.journal.tail(Lane.JOURNAL, after=seq - 1, limit=1)
        written = parse_record(entry.record)
        assert isinstance(written, TaskCreated)
        kept = await journal.blob(written.goal)
        assert kept is not None
        assert kept.text() == "Sign in with [secret POS_TOKEN]"
        assert await journal.blob(goal.ref()) is None


async def test_the_model_is_told_no_secret_and_tells_none(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.set_here("two words secret")
        inner = ScriptedModel("It is two words secret indeed.")
        model = ScrubbedModel(inner, lambda: device.vault.scrubber)
        generation = Generation(messages=[Message("user", "Is it two words secret?")], max_tokens=50)
        items = [item async for item in model.generate(generation)]
    assert inner.seen[0].messages[0].content == "Is it [secret POS_TOKEN]?"
    deltas = [item.text for item in items if isinstance(item, TextDelta)]
    assert "".join(deltas) == "It is [secret POS_TOKEN] indeed."
    assert all(deltas)
    assert isinstance(items[-1], Finished)


def test_what_is_printed_is_covered_also_in_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    with scrubbed_output() as scrub_with:
        scrub_with(Scrubber({NAME: VALUE}))
        print("the token is ", end="")
        for character in VALUE:
            print(character, end="", flush=True)
        print(".", flush=True)
        print(f"and {VALUE}", file=sys.stderr)
        print("corr", end="", flush=True)
    told = capsys.readouterr()
    assert told.out == "the token is [secret POS_TOKEN].\ncorr"
    assert told.err == "and [secret POS_TOKEN]\n"
