"""The seal of a proposal's row: changed behind the hub's back, it can no longer be agreed to."""

from cloud.consent.tables import Proposal
from cloud.row_seal import RowSeal
from shared.clock import to_ms


class ProposalSeals:
    """Seals rows and looks at seals."""

    def __init__(self, seal: RowSeal) -> None:
        self._seal = seal

    def seal(self, row: Proposal) -> None:
        """Write the row's MAC. Last before it is stored, after each change."""
        row.mac = self._seal.of("proposal", *_decisive(row))

    def fits(self, row: Proposal) -> bool:
        return self._seal.fits(row.mac, "proposal", *_decisive(row))


def _decisive(row: Proposal) -> tuple[object, ...]:
    """The content itself is under `content_sha256`."""
    return (
        row.id,
        row.tenant,
        row.action,
        row.target,
        row.content_sha256,
        row.state,
        row.asked_by,
        row.asked_person,
        to_ms(row.asked_at),
        to_ms(row.expires_at),
        row.decided_by,
        None if row.decided_at is None else to_ms(row.decided_at),
        row.outcome,
    )
