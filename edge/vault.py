"""The device's secrets while it runs: set by a person or the hub, lent to a tool that declares them, covered elsewhere.

A value is decrypted into this process's memory and leaves it in one way: `lend`, which `edge.dispatch` uses for the
time of one call. Everybody else gets the `scrubber`, which knows all values and tells none. What the hub orders is
opened with the device's own sealing key and answered in the journal (rule P26); what a person sets
(`edge.secret_commands`) is found by `refresh`. Must not know who else listens.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from edge.core.scrub import Scrubber
from edge.ports import Draft, Journal, SecretOrder, SecretStore, StoredSecret
from edge.vault_key import VaultKey
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, ConfigError, CoveyError, RefusedError, UnavailableError
from shared.records import SecretForgotten, SecretRefused, SecretStored
from shared.sealed_box import check_value

logger = logging.getLogger(__name__)

RETRY_S: Final = 30.0
"""How long to wait when the store could not take what was ordered."""
SECRETS_MAX: Final = 200
"""Secrets that one device holds."""

_Answer = SecretStored | SecretRefused | SecretForgotten
Opener = Callable[[str, int, bytes], str]
"""Opens a box for this device, made for a name and a version. Raises `ProtocolError`."""


class SecretHandle:
    """A secret that a tool was lent. It shows nothing by itself and is empty after the call."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value: str | None = value

    def reveal(self) -> str:
        """The value, for the call that is under way. Raises `RefusedError` after it."""
        if self._value is None:
            raise RefusedError(
                f"The secret {self.name} was lent for a call that is over.", code="secret_returned"
            )
        return self._value

    def close(self) -> None:
        self._value = None

    def __repr__(self) -> str:
        return f"<secret {self.name}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not stored")


class SecretSource(Protocol):
    """Who lends secrets, and can tell them from other text."""

    @property
    def scrubber(self) -> Scrubber: ...

    def lend(self, names: Sequence[str]) -> AbstractContextManager[Mapping[str, SecretHandle]]:
        """Handles by name, for as long as the context is open. Raises `RefusedError` (code `secret_missing`)."""
        ...


class NoSecrets:
    """A `SecretSource` that has none."""

    @property
    def scrubber(self) -> Scrubber:
        return _NOTHING

    @contextmanager
    def lend(self, names: Sequence[str]) -> Iterator[Mapping[str, SecretHandle]]:
        if names:
            raise _missing(names[0])
        yield {}


class Vault:
    """The secrets of one device."""

    def __init__(
        self,
        *,
        store: SecretStore,
        journal: Journal,
        clock: Clock,
        open_key: Callable[[bool], VaultKey | None],
        open_box: Opener | None,
    ) -> None:
        """`open_key` opens the key at rest, and makes it if told so; it blocks, as `open_box` does.

        `open_box` None: this device belongs to no hub.
        """
        self._store = store
        self._journal = journal
        self._clock = clock
        self._open_key = open_key
        self._open_box = open_box
        self._values: dict[str, str] = {}
        self._scrubber = _NOTHING
        self._problem: str | None = None
        self._listeners: list[Callable[[Scrubber], None]] = []
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def scrubber(self) -> Scrubber:
        """Knows every value that is held now."""
        return self._scrubber

    @property
    def names(self) -> tuple[str, ...]:
        """Of the secrets that are held and can be read."""
        return tuple(sorted(self._values))

    @property
    def problem(self) -> str | None:
        """Why some that are held cannot be read."""
        return self._problem

    @contextmanager
    def lend(self, names: Sequence[str]) -> Iterator[Mapping[str, SecretHandle]]:
        for name in names:
            if name not in self._values:
                raise _missing(name)
        handles = {name: SecretHandle(name, self._values[name]) for name in names}
        try:
            yield handles
        finally:
            for handle in handles.values():
                handle.close()

    def on_scrubber(self, listener: Callable[[Scrubber], None]) -> None:
        """Call `listener` on the loop with the scrubber whenever it is another one."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Orders came."""
        self._changed.set()

    async def run(self) -> None:
        """Carry out what the hub orders, until cancelled."""
        while True:
            self._changed.clear()
            retry_s = None
            try:
                await self.refresh()
            except (CapacityError, UnavailableError) as error:
                logger.warning("the secrets could not be stored: %s", error)
                retry_s = RETRY_S
            try:
                async with asyncio.timeout(retry_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def refresh(self) -> None:
        """Carry out orders, take up what else has changed in the store, and tell the hub.

        Raises `CapacityError` or `UnavailableError` if the store cannot take it; it is tried again at the next call.
        """
        async with self._turn:
            try:
                # First what is held: also if the store can take nothing now, no value of it may pass.
                await self._load(await self._store.secrets())
                answers = await self._carry_out(await self._store.orders())
                held = await self._store.secrets()
                await self._load(held)
            except ConfigError as error:
                # Orders wait: with the right key, or passphrase, they can be carried out.
                logger.warning("the secrets cannot be read: %s", error)
                self._problem = str(error)
                return
            told = {
                (answer.name, answer.version) for answer in answers if not isinstance(answer, SecretRefused)
            }
            answers += [self._word_on(each) for each in held if not each.is_told and _key(each) not in told]
            if answers:
                await self._journal.append(*(Draft(answer) for answer in answers), durable=True)

    async def _carry_out(self, orders: Sequence[SecretOrder]) -> list[_Answer]:
        answers: list[_Answer] = []
        for order in orders:
            answer, stored = await asyncio.to_thread(self._judge, order)
            if stored is not None:
                await self._store.put([stored])
            answers.append(answer)
        return answers

    def _judge(self, order: SecretOrder) -> tuple[_Answer, StoredSecret | None]:
        """What is said of an order, and what is to be stored. Raises `ConfigError` if the key cannot be opened."""
        at = self._clock.now()
        about = {"at_ms": to_ms(at), "causes": (order.order,), "name": order.name, "version": order.version}
        if order.is_removal:
            gone = StoredSecret(name=order.name, version=order.version, sealed=None, at=at, is_told=False)
            return SecretForgotten.model_validate(about), gone
        try:
            value = self._opened(order)
        except CoveyError as error:
            logger.warning("the secret %s from the hub was refused: %s", order.name, error)
            return SecretRefused.model_validate({**about, "reason": error.code}), None
        key = self._open_key(True)
        assert key is not None, "it is made where it is missing"
        sealed = key.seal(order.name, order.version, value)
        kept = StoredSecret(name=order.name, version=order.version, sealed=sealed, at=at, is_told=False)
        return SecretStored.model_validate(about), kept

    def _opened(self, order: SecretOrder) -> str:
        if order.box is None:
            raise RefusedError("The sealed secret did not come with the order.", code="content_missing")
        if self._open_box is None:
            raise RefusedError("This device has no sealing key yet.", code="sealing_key_missing")
        if order.name not in self._values and len(self._values) >= SECRETS_MAX:
            raise CapacityError(
                f"This device holds {SECRETS_MAX} secrets already.",
                bound="SECRETS_MAX",
                limit=SECRETS_MAX,
                code="too_many_secrets",
            )
        return check_value(self._open_box(order.name, order.version, order.box))

    async def _load(self, held: Sequence[StoredSecret]) -> None:
        """Decrypt what is held, if it is other than what is known."""
        values, problem = await asyncio.to_thread(self._decrypted, held)
        self._problem = problem
        if values != self._values:
            self._values = values
            self._scrubber = await asyncio.to_thread(Scrubber, values)
            for listener in self._listeners:
                listener(self._scrubber)

    def _decrypted(self, held: Sequence[StoredSecret]) -> tuple[dict[str, str], str | None]:
        sealed = [(each.name, each.version, each.sealed) for each in held if each.sealed is not None]
        key = self._open_key(False) if sealed else None
        values: dict[str, str] = {}
        problem: str | None = None
        for name, version, data in sealed:
            try:
                if key is None:
                    raise ConfigError(
                        f"The key of the secret {name} is missing; set it again with `covey-edge secret set {name}`."
                    )
                values[name] = key.open(name, version, data)
            except ConfigError as error:
                problem = str(error)
        return values, problem

    def _word_on(self, held: StoredSecret) -> _Answer:
        about = {"at_ms": to_ms(self._clock.now()), "name": held.name, "version": held.version}
        kind = SecretForgotten if held.sealed is None else SecretStored
        return kind.model_validate(about)


def _key(held: StoredSecret) -> tuple[str, int]:
    return held.name, held.version


def _missing(name: str) -> RefusedError:
    return RefusedError(
        f"This device holds no secret {name}; set it with `covey-edge secret set {name}`.",
        code="secret_missing",
    )


_NOTHING: Final = Scrubber({})
