"""A hub's keys and database with audited deeds and devices' logs, without HTTP; and exports of it."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import zstandard
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from cloud.audit.archive import ExportSeal, Unpacker
from cloud.audit.entry import START, chained
from cloud.audit.export import Scope, export
from cloud.audit.heads import HeadKeeper
from cloud.audit.hub_keys import AuditKeys, root_bytes
from cloud.audit.log import note
from cloud.audit.verify import Report, verify
from cloud.caller import Caller, Means, Permission
from cloud.db import Database
from cloud.devices.tables import DeviceKey
from cloud.journal import repository
from cloud.journal.tables import LaneRow
from shared.cbor import encode
from shared.gate import Accepted, Expected, admit, close
from shared.ids import EVERYONE, HUB, Lane, LaneId
from shared.keychain import KeyChain, RootKey, RootSigner, extended, follow, state_key
from shared.keys import Purpose, Signer
from shared.log import extend
from shared.merkle import Frontier, leaf_hash
from shared.replication import seal_input
from tests.support.clock import ManualClock
from tests.support.device import bytes_from, signer_from

CHECKPOINT_INTERVAL_S = 3_600.0
LOG_KEY = bytes(range(32))
"""Under which the hub's log is."""
Item = list[object]


def ada(tenant: str | None = "acme") -> Caller:
    return Caller(
        name="ada", tenant=tenant, permissions=frozenset(Permission), means=Means.SESSION, address="192.0.2.7"
    )


def root_from(name: str) -> ec.EllipticCurvePrivateKey:
    """A root key that is the same in every run."""
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(name.encode()).digest()), ec.SECP256R1())


def audit_keys(name: str = "hub", *, rotations: int = 0) -> AuditKeys:
    """A root, and audit keys each of which states the next."""
    root = root_from(name)
    signer = signer_from(f"{name} audit 1")
    chain = KeyChain()
    link = state_key(chain, purpose=Purpose.AUDIT, public=signer.public, at_ms=1, signer=RootSigner(root))
    chain = extended(chain, link)
    for number in range(rotations):
        following = signer_from(f"{name} audit {number + 2}")
        link = state_key(chain, purpose=Purpose.AUDIT, public=following.public, at_ms=2, signer=signer)
        chain, signer = extended(chain, link), following
    return AuditKeys(
        signer=signer, root=root_bytes(root.public_key()), statements=tuple(link.raw for link in chain.links)
    )


def with_root_replaced(keys: AuditKeys, name: str = "hub") -> AuditKeys:
    """As after the loss of the key that signs: the root states the next. `name`: that `audit_keys` was given."""
    root = root_from(name)
    chain = follow(keys.statements, root=RootKey(root.public_key()))
    assert isinstance(chain, KeyChain)
    following = signer_from(f"{name} audit by root")
    link = state_key(chain, purpose=Purpose.AUDIT, public=following.public, at_ms=3, signer=RootSigner(root))
    return AuditKeys(signer=following, root=keys.root, statements=(*keys.statements, link.raw))


@dataclass
class Audited:
    """What a test does to a hub's database."""

    database: Database
    clock: ManualClock
    keys: AuditKeys = field(default_factory=audit_keys)

    def deed(
        self, target: str = "fridge-1", *, tenant: str | None = "acme", action: str = "device.revoke"
    ) -> int:
        with self.database.write() as session:
            return note(
                session, ada(tenant), action, target, tenant=tenant, now=self.clock.now(), content=b"why"
            )

    def deeds(self, count: int, *, tenant: str | None = "acme") -> None:
        for number in range(count):
            self.deed(f"thing-{number}", tenant=tenant)

    def keep(self) -> None:
        """A round of the leader's job."""
        HeadKeeper(
            clock=self.clock, keys=lambda: self.keys, checkpoint_interval_s=CHECKPOINT_INTERVAL_S
        ).work(self.database)

    def later(self, seconds: float = CHECKPOINT_INTERVAL_S) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def device(self, principal: str) -> Signer:
        """A device's key, as enrolment leaves it."""
        signer = signer_from(principal)
        with self.database.write() as session:
            session.add(
                DeviceKey(kid=signer.kid, principal=principal, public=signer.public, since=self.clock.now())
            )
        return signer

    def records(
        self,
        principal: str,
        count: int,
        *,
        lane: Lane = Lane.JOURNAL,
        epoch: str = "first",
        per_seal: int = 3,
    ) -> LaneRow:
        """Append records as ingest does, sealed each so often and at the end."""
        signer = signer_from(principal)
        where = LaneId(principal, lane, bytes_from(f"{principal} {lane} {epoch}"))
        with self.database.write() as session:
            row = repository.newest_lane(session, principal, lane)
            if row is None or row.epoch != where.epoch:
                row = repository.create_lane(session, where, self.clock.now())
            head = repository.head_of(row)
            key = repository.key_of(row)
            last = head.seq + count
            while head.seq < last:
                data = encode({"kind": "x", "n": head.seq + 1, "of": principal})
                head = extend(head, data)
                repository.insert_records(session, [(key, head.seq, head.hash, "x", 1, data)])
                if lane is not Lane.ORDERS and (head.seq % per_seal == 0 or head.seq == last):
                    seal = signer.sign(seal_input(where, head))
                    repository.insert_seal(session, row=row, seq=head.seq, kid=signer.kid, seal=seal)
            row.head_seq, row.head_hash = head.seq, head.hash
            session.add(row)
        return row

    def sql(self, statement: str, **values: object) -> None:
        """Behind the hub's back."""
        with self.database.write() as session:
            session.execute(text(statement).bindparams(**values))

    def export(self, scope: Scope | None = None) -> bytes:
        return b"".join(
            export(self.database, self.keys, scope or Scope(with_journals=True), self.clock.now())
        )

    def head(self) -> bytes:
        """The newest signed one."""
        with self.database.read() as session:
            found = session.execute(text("SELECT head FROM signed_tree_head ORDER BY size DESC LIMIT 1"))
            return bytes(found.scalar_one())


def judged(data: bytes, *, kept: bytes | None = None, pinned: bytes | None = None) -> Report:
    return verify(io.BytesIO(data), kept=kept, pinned=pinned)


def items_of(data: bytes) -> list[Item]:
    return list(Unpacker(io.BytesIO(data)))


def resealed(items: Sequence[Item], keys: AuditKeys) -> list[Item]:
    """As a hub that lies would write it: whatever the items say, the number of entries and the signature fit them."""
    body = [list(item) for item in items if item[0] != "end"]
    tree, chain_hash = Frontier(), START
    for item in body:
        leaves: list[bytes] = []
        if item[0] == "entries" and isinstance(item[2], list):
            leaves = [leaf_hash(bytes(entry)) for entry in item[2]]
        elif item[0] == "leaves" and isinstance(item[2], bytes):
            leaves = [item[2][at : at + 32] for at in range(0, len(item[2]), 32)]
        for leaf in leaves:
            tree.append(leaf)
            chain_hash = chained(chain_hash, leaf)
    for item in body:
        if item[0] == "header" and isinstance(item[1], dict):
            item[1] = {**item[1], "size": tree.size}
    raw = b"".join(encode(encode(item)) for item in body)
    seal = ExportSeal(
        sha256=hashlib.sha256(raw).digest(),
        items=len(body),
        size=tree.size,
        root=tree.root(),
        chain=chain_hash,
        at_ms=_made_at(body),
    )
    return [*body, ["end", close(seal, issuer=HUB, audience=EVERYONE, message_id=b"", signer=keys.signer)]]


def seal_in(envelope: bytes, keys: AuditKeys) -> ExportSeal:
    """What an export's signature says."""
    expected = Expected(message=ExportSeal, issuer=HUB, audience=EVERYONE, needs_session=False)
    verdict = admit(envelope, expected, keys.ring())
    assert isinstance(verdict, Accepted), verdict
    return verdict.message


def _made_at(items: Sequence[Item]) -> int:
    return next(int(item[1]["at_ms"]) for item in items if isinstance(item[1], dict) and item[0] == "header")


def packed(items: Sequence[Item]) -> bytes:
    """A file of these items, well-formed, whatever they say."""
    return zstandard.compress(b"".join(encode(encode(item)) for item in items))


def a_small_hub(database: Database, clock: ManualClock, keys: AuditKeys | None = None) -> Audited:
    """Deeds of two tenants, three devices, all kinds of logs, checkpoints and several heads."""
    hub = Audited(database, clock, keys or audit_keys())
    hub.deeds(3)
    hub.keep()
    for principal in ("acme.fridge-1", "acme.oven", "zeta.door"):
        hub.device(principal)
        hub.records(principal, 7)
    hub.records("acme.oven", 4, lane=Lane.METRICS)
    hub.records("acme.oven", 5, lane=Lane.ORDERS)
    hub.later()
    hub.keep()
    hub.deeds(2, tenant="zeta")
    hub.deed("hub", tenant=None, action="keys.rotate")
    hub.keep()
    hub.records("acme.fridge-1", 4)
    hub.later()
    hub.keep()
    hub.deed("last")
    return hub
