"""What a device reports about its settings, projected onto its twin."""

from typing import Final

from sqlmodel import Session

from cloud.ingest.applied import Applied, Handlers
from cloud.journal.service import read_blob
from cloud.twins.tables import DeviceTwin
from shared.errors import ProtocolError
from shared.records import TwinReported
from shared.twin import REPORT_MAX_BYTES, Document, check, merge, parse


def on_twin_reported(session: Session, applied: Applied, record: TwinReported) -> None:
    """Merge the difference into what the device reported before; a whole report takes its place.

    Raises `ProtocolError` or `CapacityError` if the content is missing or no settings document.
    """
    content = applied.blobs.get(record.patch.hash) or read_blob(session, record.patch.hash)
    if content is None:
        raise ProtocolError("The content of the report did not come with it.")
    patch = parse(content.content, max_bytes=REPORT_MAX_BYTES)
    twin = applied.find(session, DeviceTwin, applied.principal)
    if twin is None:
        twin = applied.make(
            DeviceTwin, applied.principal, principal=applied.principal, reported={}, refused={}
        )
    before: Document = {} if record.is_whole else twin.reported
    document = merge(before, patch)
    check(document, max_bytes=REPORT_MAX_BYTES)  # each report is within the bounds, their sum has to be too
    twin.reported = document
    twin.reported_revision = record.revision
    twin.refused = dict(record.refused)
    twin.reported_at = applied.now


HANDLERS: Final[Handlers] = {TwinReported: on_twin_reported}
