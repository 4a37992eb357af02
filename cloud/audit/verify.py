"""`covey-hub audit verify`: an export against itself, against a head that an auditor kept, and against a pinned key.

It needs no hub, no network and no trust in who wrote the file. One pass, with bounded memory; the first thing that is
wrong ends it, with a sentence. What a file alone cannot show is said too (`Report.limits`), and where the log was
broken and somebody accepted that (`Report.breaks`): such a log is sound only for who keeps a head from after it.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, BinaryIO, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud.audit.archive import FORMAT, NOT_OURS, ExportSeal, Unpacker
from cloud.audit.hub_keys import AuditRing, fingerprint, ring_of
from cloud.audit.verify_journals import JournalsVerifier
from cloud.audit.verify_log import Break, LogVerifier, fault
from cloud.audit.vouched import VouchedPositions
from shared.clock import MAX_MS, from_ms
from shared.enrolment import TenantName
from shared.errors import ProtocolError
from shared.gate import Accepted, Expected, admit
from shared.ids import EVERYONE, HUB
from shared.tree_head import TreeHead, open_head

STATEMENTS_MAX: Final = 256
"""Of a hub's key chain."""
FIRST_MS: Final = -62_135_596_800_000
"""The first millisecond of the year 1: a time that is asked for may lie before the epoch."""


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: int = Field(ge=FORMAT, le=FORMAT)
    tenant: TenantName | None
    since_ms: Annotated[int, Field(ge=FIRST_MS, le=MAX_MS)] | None
    until_ms: Annotated[int, Field(ge=FIRST_MS, le=MAX_MS)] | None
    journals: bool
    size: int = Field(ge=0)
    at_ms: int = Field(ge=0, le=MAX_MS)


@dataclass(slots=True, kw_only=True)
class Report:
    """`problem`: the first thing that is wrong, None if nothing is. Counts are of what was verified up to there.

    `withheld`: entries of which the export shows only hashes. `missing`: records in gaps that were recorded as such.
    `checkpoints`: positions of devices' logs that agree with the audit log; `trimmed`: of metrics that were rolled up
    since. `breaks`: where the log is not what the hub wrote, and who let it go on. `limits`: what this file cannot
    show, in sentences.
    """

    problem: str | None = None
    root_key: str | None = None
    tenant: str | None = None
    made_at: datetime | None = None
    entries: int = 0
    withheld: int = 0
    heads: int = 0
    signed_size: int = 0
    devices: int = 0
    lanes: int = 0
    records: int = 0
    seals: int = 0
    missing: int = 0
    checkpoints: int = 0
    trimmed: int = 0
    breaks: list[Break] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Nothing is wrong but what whoever kept the head could know of."""
        return self.problem is None and all(each.is_known for each in self.breaks)


def verify(file: BinaryIO, *, kept: bytes | None = None, pinned: bytes | None = None) -> Report:
    """Judge an export. `kept`: the envelope of an old signed head; `pinned`: the fingerprint of the hub's root key.

    Raises nothing about what the file holds: that is in the report. Blocking.
    """
    report = Report()
    with ExitStack() as open_:
        run = _Run(report, open_.enter_context(VouchedPositions()), kept, pinned)
        try:
            run.take_all(Unpacker(file))
        except ProtocolError as error:
            report.problem = str(error)
        run.count()
    return report


class _Run:
    """One verification."""

    def __init__(
        self, report: Report, vouched: VouchedPositions, kept: bytes | None, pinned: bytes | None
    ) -> None:
        self._report = report
        self._vouched = vouched
        self._kept = kept
        self._pinned = pinned
        self._ring = AuditRing(())
        self._log: LogVerifier | None = None
        self._journals: JournalsVerifier | None = None

    def take_all(self, items: Unpacker) -> None:
        stream = iter(items)
        header = _header(next(stream, None))
        self._report.tenant, self._report.made_at = header.tenant, from_ms(header.at_ms)
        log = self._log = self._keyed(next(stream, None), header)
        journals: JournalsVerifier | None = None
        for item in stream:
            match item:
                case ["entries", int() as first, list() as entries] if entries and journals is None:
                    if not all(isinstance(entry, bytes) for entry in entries):
                        raise fault(f"An entry from {first} on is not well-formed.")
                    for number, found in log.take_entries(first, entries):
                        self._vouched.add(number, found)
                case ["leaves", int() as first, bytes() as joined] if journals is None:
                    log.take_leaves(first, joined)
                case ["head", bytes() as envelope] if journals is None:
                    log.take_head(envelope)
                case ["device", str() as principal, list() as keys] if header.journals:
                    if journals is None:
                        log.finish(header.size)
                        journals = self._journals = JournalsVerifier(self._vouched, header.tenant)
                    journals.take_device(principal, keys)
                case ["records", int() as first, list() as records] if journals is not None and records:
                    journals.take_records(first, records)
                case ["seals", list() as seals] if journals is not None:
                    journals.take_seals(seals)
                case ["lane", fields] if journals is not None:
                    journals.take_lane(fields)
                case ["gap", int() as first, int() as last, bytes() as after, str()] if journals is not None:
                    journals.take_gap(first, last, after)
                case ["end", bytes() as envelope]:
                    log.finish(header.size)
                    if header.journals:
                        journals = journals or JournalsVerifier(self._vouched, header.tenant)
                        journals.finish(has_all=True)
                    self._take_end(envelope, items, log, header)
                    break
                case _:
                    raise fault(
                        f"Item {items.items} of the export ({_shown(item[0])}) is not one that may stand there."
                    )
        else:
            raise ProtocolError("The file ends before its end: it was cut off.", code="cut_off")
        if next(stream, None) is not None:
            raise fault("Something was added behind the end of the export.")
        self._report.limits = _limits(header, log, self._kept, self._pinned)

    def count(self) -> None:
        report = self._report
        if self._log is not None:
            report.entries, report.withheld = self._log.shown, self._log.withheld
            report.heads, report.breaks = self._log.heads, self._log.breaks
            report.signed_size = 0 if self._log.newest is None else self._log.newest.size
        if self._journals is not None:
            journals = self._journals
            report.devices, report.lanes, report.records = journals.devices, journals.lanes, journals.records
            report.seals, report.missing = journals.seals, journals.missing
            report.checkpoints, report.trimmed = journals.compared, journals.trimmed

    def _keyed(self, item: list[object] | None, header: _Header) -> LogVerifier:
        match item:
            case ["keys", bytes() as root, list() as statements] if len(statements) <= STATEMENTS_MAX:
                pass
            case _:
                raise fault("The export does not say which keys the hub has.")
        texts = [each for each in statements if isinstance(each, bytes)]
        if len(texts) != len(statements):
            raise fault("The export does not say which keys the hub has.")
        self._ring = ring_of(root, texts)
        own = fingerprint(root)
        self._report.root_key = own.hex()
        if self._pinned is not None and own != self._pinned:
            raise fault(
                f"The export is of a hub whose root key is {own.hex()}, not {self._pinned.hex()}, which you named."
            )
        kept: tuple[bytes, TreeHead] | None = None
        if self._kept is not None:
            kept = (self._kept, self._opened(self._kept, own))
        return LogVerifier(
            ring=self._ring,
            root_key=own,
            tenant=header.tenant,
            is_whole=header.tenant is None and header.since_ms is None and header.until_ms is None,
            kept=kept,
        )

    def _opened(self, envelope: bytes, own: bytes) -> TreeHead:
        try:
            head = open_head(envelope, self._ring)
        except ProtocolError as error:
            raise fault(
                f"The head that you kept is not signed by a key of this export's hub ({error.code}): the export is"
                " another hub's, or was made anew, or the head is damaged."
            ) from error
        if head.root_key != own:
            raise fault("The head that you kept is of a hub with another root key: this log was made anew.")
        return head

    def _take_end(self, envelope: bytes, items: Unpacker, log: LogVerifier, header: _Header) -> None:
        expected = Expected(message=ExportSeal, issuer=HUB, audience=EVERYONE, needs_session=False)
        verdict = admit(envelope, expected, self._ring.present())
        if not isinstance(verdict, Accepted):
            raise fault(f"The export's own signature is not one of this hub's ({verdict.reason.value}).")
        seal = verdict.message
        if seal.sha256 != items.sha256 or seal.items != items.items or seal.at_ms != header.at_ms:
            raise fault(
                "The export is not as the hub signed it: something in it was altered, removed or put in."
            )
        if (seal.size, seal.root, seal.chain) != (log.tree.size, log.tree.root(), log.chain):
            raise fault(
                "The entries do not lead to the state of the log that the hub has signed with this export: the end of"
                " the log is missing or altered."
            )


def _header(item: list[object] | None) -> _Header:
    match item:
        case ["header", dict() as fields]:
            try:
                return _Header.model_validate(fields)
            except ValidationError as error:
                raise ProtocolError(
                    f"{NOT_OURS}, or comes from another version of covey-hub.", code="damaged"
                ) from error
        case _:
            raise ProtocolError(f"{NOT_OURS}.", code="damaged")


def _limits(header: _Header, log: LogVerifier, kept: bytes | None, pinned: bytes | None) -> list[str]:
    limits: list[str] = []
    if kept is None:
        limits.append(
            "Without a head that you kept (--head) nobody can tell whether entries were cut off the end, or whether"
            " the hub made another log."
        )
    if kept is None and pinned is None:
        limits.append(
            "The hub's root key is what the file itself says: compare its fingerprint with the one you know, or name"
            " it with --key."
        )
    if log.withheld:
        limits.append(
            f"Of {log.withheld} entries outside of what was asked for there are only hashes: they are in their places,"
            " but what they say is not shown, nor whether one of them should have been."
        )
    if not header.journals:
        limits.append(
            "The devices' logs are not in this file (--journals), so only the audit log was verified."
        )
    return limits


def _shown(kind: object) -> str:
    text = str(kind)[:16]
    return text if text.isascii() and text.isalnum() else "unreadable"
