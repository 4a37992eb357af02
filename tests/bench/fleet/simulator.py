"""Thousands of devices in one thread: an epoll loop over their connections, with the product's own patience.

    with Fleet(members, address=address, ca=ca, hub=hub) as fleet:
        fleet.switch_on()
        fleet.run_until(lambda: fleet.linked == len(members), "to link the fleet", timeout_s=60)

Timeouts, keep-alive and the back-off with full jitter are those of `edge`. Everything is bounded by the number of
devices: a connection and a timer each. Must not know what is measured.
"""

import gc
import heapq
import os
import random
import select
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.adapters.link_paho import CONNECT_TIMEOUT_S
from shared.backoff import Backoff
from shared.clock import to_ms
from shared.errors import UnavailableError
from shared.ids import HUB, Lane
from shared.keys import KeyRing, Signer, TrustedKey
from shared.messages import NONCE_BYTES
from tests.bench.fleet import mqtt
from tests.bench.fleet.connection import PACKET_MAX_BYTES, Connection, Phase
from tests.bench.fleet.device import DEFAULTS, Device, Said
from tests.bench.fleet.members import Member
from tests.bench.fleet.workload import routine
from tests.support.process import ProcessFailedError

PING_INTERVAL_S: Final[int] = DEFAULTS["ping_interval_s"].default
CLIENT_ID_RANDOM_BYTES: Final = 8
BROKER_NAME: Final = "localhost"
"""What the broker's certificate is checked for."""
SLICES: Final = 20
"""A tick of all devices is spread over a second in so many parts, so that it delays nobody."""
SLICE_S: Final = 1.0 / SLICES
EVENTS_MAX: Final = 256
PHASE_TIMEOUTS_S: Final = {
    Phase.CONNECTING: CONNECT_TIMEOUT_S,
    Phase.HANDSHAKING: CONNECT_TIMEOUT_S,
    Phase.OPENING: PING_INTERVAL_S,
    Phase.SUBSCRIBING: PING_INTERVAL_S,
}
"""As paho has it: a timeout for TCP and one for TLS; then a broker that is silent for a keep-alive is given up."""
STARTING_MAX: Final = 100
"""Devices that are on their way up at once when a fleet is switched on: what waits in the listener's queue at most."""


class SimulatedPeer:
    """A device with its connection, its TLS context and its back-off."""

    __slots__ = (
        "attempt_at", "backoff", "connection", "context", "device", "is_linked", "is_ordered", "last_sent_at",
        "linked_in", "number", "phase_at", "up_at",
    )  # fmt: skip

    def __init__(self, number: int, device: Device, context: ssl.SSLContext) -> None:
        self.number = number
        self.device = device
        self.context = context
        self.connection: Connection | None = None
        self.backoff = Backoff()
        self.attempt_at = 0.0
        self.phase_at = 0.0
        self.last_sent_at = 0.0
        self.up_at: float | None = None
        self.is_linked = False
        self.linked_in = -1
        """The last round in which it was linked anew."""
        self.is_ordered = False


class Fleet:
    """All devices. `run_until` and `run_for` are the only methods during which anything happens."""

    def __init__(
        self,
        members: Sequence[Member],
        *,
        address: tuple[str, int],
        ca: Path,
        hub: bytes,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`hub`: the public signing key of the hub. `check` is called about once a second, and may raise."""
        self._address = address
        self._check = check
        self._epoll = select.epoll()
        self._by_fd: dict[int, SimulatedPeer] = {}
        self._attempts: list[tuple[float, int]] = []
        self._switched_off: list[int] = []
        self._on_the_way = 0
        self._slice = 0
        self._slice_at = 0.0
        self._routine: tuple[float, float] | None = None
        self._routine_sent = 0
        self._round = 0
        self.linked = 0
        """Devices whose hello was answered and whose session stands."""
        self.linked_anew = 0
        """Devices that were linked since `begin_round`."""
        self.ordered_at: list[float] = []
        """When (`time.monotonic`) each device applied its first order since `begin_round`."""
        self.failures: Counter[str] = Counter()
        """Connections that ended, by reason."""
        ring = KeyRing((TrustedKey(owner=HUB, public=hub),))
        self.peers = [_peer(number, member, ca, ring) for number, member in enumerate(members)]
        # Nothing of these becomes garbage while the fleet runs: the collector need not look at them again and again.
        gc.freeze()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for peer in self.peers:
            if peer.connection is not None:
                peer.connection.leave()
        self._epoll.close()
        gc.unfreeze()

    # --- what the bench does with it

    def switch_on(self) -> None:
        """Let every device connect, one after the other, as fast as the broker takes them."""
        self._switched_off = list(range(len(self.peers)))[::-1]

    def begin_round(self) -> None:
        """From now on count who is linked anew, and who applies an order."""
        self._round += 1
        self.linked_anew = 0
        self.ordered_at = []
        for peer in self.peers:
            peer.is_ordered = False

    def append(self, lane: Lane, make: Callable[[Device], Sequence[bytes]]) -> int:
        """Every device commits what `make` gives it, and syncs. How many records that were."""
        now = datetime.now(UTC)
        count = 0
        for peer in self.peers:
            records = make(peer.device)
            count += len(records)
            self._say(peer, peer.device.append(lane, records, now))
            self._work(0.0)
        return count

    def begin_routine(self, interval_s: float) -> None:
        """From now on each device writes a record every `interval_s`, all of them evenly spread."""
        self._routine = (time.monotonic(), interval_s)
        self._routine_sent = 0

    def end_routine(self) -> int:
        """How many records were written."""
        self._routine = None
        return self._routine_sent

    @property
    def unacknowledged(self) -> int:
        """Journal records that the hub has not acknowledged, of all devices."""
        return sum(peer.device.unacknowledged for peer in self.peers)

    @property
    def refused(self) -> Counter[str]:
        """Messages of the hub that devices refused, by reason."""
        return sum((peer.device.refused for peer in self.peers), Counter())

    def run_until(self, condition: Callable[[], bool], what: str, *, timeout_s: float) -> None:
        """Raises `ProcessFailedError` when it takes longer than `timeout_s`."""
        begin = time.monotonic()
        checked = begin
        while not condition():
            self._work(SLICE_S)
            now = time.monotonic()
            if now - checked >= 1.0:
                self._check()
                checked = now
                if now - begin > timeout_s:
                    raise ProcessFailedError(f"the fleet had {timeout_s:g} s {what}, and did not: {self}")

    def run_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            self._work(min(SLICE_S, end - now))

    def __str__(self) -> str:
        phases = Counter(
            "off" if peer.connection is None else peer.connection.phase.name.lower() for peer in self.peers
        )
        return (
            f"{self.linked} of {len(self.peers)} linked; connections {dict(phases)};"
            f" ended {dict(self.failures)}; refused {dict(self.refused)};"
            f" {self.unacknowledged} records unacknowledged"
        )

    # --- the loop

    def _work(self, patience_s: float) -> None:
        now = time.monotonic()
        while self._attempts and self._attempts[0][0] <= now:
            self._connect(heapq.heappop(self._attempts)[1])
        while self._switched_off and self._on_the_way < STARTING_MAX:
            self._connect(self._switched_off.pop())
        self._write_routine(now)
        if now >= self._slice_at:
            self._slice_at = max(self._slice_at + SLICE_S, now)
            self._tick_slice(now)
        if self._attempts:
            patience_s = min(patience_s, max(0.0, self._attempts[0][0] - now))
        for fd, _ in self._epoll.poll(patience_s, EVENTS_MAX):
            # What happened to one device may have cut off another in this very turn.
            if (peer := self._by_fd.get(fd)) is not None:
                self._proceed(peer)

    def _tick_slice(self, now: float) -> None:
        at = datetime.now(UTC)
        for peer in self.peers[self._slice :: SLICES]:
            connection = peer.connection
            if connection is None:
                continue
            if connection.phase is not Phase.UP:
                if now - peer.phase_at > PHASE_TIMEOUTS_S[connection.phase]:
                    self._ended(peer, f"{connection.phase.name.lower()} took too long")
                continue
            said = peer.device.tick(at)
            self._note_link(peer)
            if peer.device.must_reconnect:
                self._ended(peer, "the hub does not answer")
                continue
            if now - peer.last_sent_at >= PING_INTERVAL_S:
                connection.ping()
                self._flush(peer)
            self._say(peer, said)
        self._slice = (self._slice + 1) % SLICES

    def _write_routine(self, now: float) -> None:
        if self._routine is None:
            return
        begin, interval_s = self._routine
        due = int((now - begin) / interval_s * len(self.peers))
        at = datetime.now(UTC)
        while self._routine_sent < due:
            peer = self.peers[self._routine_sent % len(self.peers)]
            self._routine_sent += 1
            self._say(peer, peer.device.append(Lane.METRICS, [routine(to_ms(at))], at))

    # --- one device

    def _connect(self, number: int) -> None:
        peer = self.peers[number]
        peer.attempt_at = peer.phase_at = time.monotonic()
        peer.up_at = None
        id_ = os.urandom(NONCE_BYTES)
        will = peer.device.will(id_)
        connect = mqtt.connect(
            client_id=f"{peer.device.principal}-{os.urandom(CLIENT_ID_RANDOM_BYTES).hex()}",
            keepalive_s=PING_INTERVAL_S,
            will_topic=will.topic,
            will_payload=will.message,
            packet_max_bytes=PACKET_MAX_BYTES,
        )
        try:
            connection = Connection(
                self._address,
                host=BROKER_NAME,
                context=peer.context,
                connect=connect,
                filters=peer.device.topics(),
                id_=id_,
            )
        except UnavailableError as error:
            self._try_again(peer, str(error))
            return
        peer.connection = connection
        self._on_the_way += 1
        self._by_fd[connection.fd] = peer
        self._epoll.register(connection.fd, connection.wants)

    def _proceed(self, peer: SimulatedPeer) -> None:
        connection = peer.connection
        assert connection is not None
        wanted, phase = connection.wants, connection.phase
        try:
            published = connection.proceed()
        except UnavailableError as error:
            self._ended(peer, str(error))
            return
        now = datetime.now(UTC)
        if connection.phase is not phase:
            peer.phase_at = time.monotonic()
            if connection.phase is Phase.UP:
                self._on_the_way -= 1
                peer.up_at = peer.phase_at
                self._say(peer, peer.device.connected(connection.id, now))
        for message in published:
            self._hear(peer, message.topic, message.payload, now)
            if peer.connection is not connection:
                return
        if connection.wants != wanted:
            self._epoll.modify(connection.fd, connection.wants)

    def _hear(self, peer: SimulatedPeer, topic: str, payload: bytes, now: datetime) -> None:
        orders = peer.device.orders_seq
        said = peer.device.heard(topic, payload, now)
        if peer.device.orders_seq > orders and not peer.is_ordered:
            peer.is_ordered = True
            self.ordered_at.append(time.monotonic())
        self._note_link(peer)
        self._say(peer, said)

    def _note_link(self, peer: SimulatedPeer) -> None:
        """Keep the counts after something happened to the device."""
        is_linked = peer.device.is_linked
        if is_linked == peer.is_linked:
            return
        peer.is_linked = is_linked
        self.linked += 1 if is_linked else -1
        if is_linked and peer.linked_in != self._round:
            peer.linked_in = self._round
            self.linked_anew += 1

    def _say(self, peer: SimulatedPeer, said: Sequence[Said]) -> None:
        connection = peer.connection
        if not said or connection is None or connection.phase is not Phase.UP:
            return
        for each in said:
            connection.publish(each.topic, each.message, is_retained=each.is_retained)
        self._flush(peer)

    def _flush(self, peer: SimulatedPeer) -> None:
        connection = peer.connection
        assert connection is not None
        wanted = connection.wants
        peer.last_sent_at = time.monotonic()
        try:
            connection.flush()
        except UnavailableError as error:
            self._ended(peer, str(error))
            return
        if connection.wants != wanted:
            self._epoll.modify(connection.fd, connection.wants)

    def _ended(self, peer: SimulatedPeer, reason: str) -> None:
        connection = peer.connection
        assert connection is not None
        if connection.phase is not Phase.UP:
            self._on_the_way -= 1
        del self._by_fd[connection.fd]
        with suppress(OSError):
            self._epoll.unregister(connection.fd)
        connection.close()
        peer.connection = None
        peer.device.disconnected(datetime.now(UTC))
        self._note_link(peer)
        if peer.up_at is not None:
            peer.backoff = peer.backoff.linked(time.monotonic() - peer.attempt_at)
        self._try_again(peer, reason)

    def _try_again(self, peer: SimulatedPeer, reason: str) -> None:
        self.failures[reason] += 1
        peer.backoff, wait_s = peer.backoff.failed(random.random())
        heapq.heappush(self._attempts, (time.monotonic() + wait_s, peer.number))


def _peer(number: int, member: Member, ca: Path, hub: KeyRing) -> SimulatedPeer:
    # One for each device, because it holds the certificate; it is made once, which saves a third of each handshake.
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(member.certificate)
    signer = Signer(Ed25519PrivateKey.from_private_bytes(member.signing_private))
    return SimulatedPeer(number, Device(member.principal, signer=signer, hub=hub), context)
