"""What devices say about the secrets that they hold, projected onto the table of them."""

from typing import Final

from sqlmodel import Session

from cloud.ingest.applied import Applied, Handlers
from cloud.vaults import repository
from cloud.vaults.states import SecretState
from cloud.vaults.tables import DeviceSecret
from shared.errors import CapacityError
from shared.records import SecretForgotten, SecretRefused, SecretStored

SECRETS_MAX: Final = 1_000
"""Names of one device that are kept; a device that makes up more is no longer believed."""


def on_secret_stored(session: Session, applied: Applied, record: SecretStored) -> None:
    """The device holds it: the sealed box has served."""
    row = _row(session, applied, record.name)
    row.stored_version = record.version
    # An answer to an older order says nothing of the last one; what was set on the device (0) was set last.
    if record.version in (0, row.version):
        _settle(session, applied, row, SecretState.STORED, None)


def on_secret_refused(session: Session, applied: Applied, record: SecretRefused) -> None:
    """The device could not take it, and holds what it held."""
    row = _row(session, applied, record.name)
    if record.version == row.version:
        _settle(session, applied, row, SecretState.REFUSED, record.reason)


def on_secret_forgotten(session: Session, applied: Applied, record: SecretForgotten) -> None:
    """The device holds it no longer, by order or because a person there removed it."""
    row = _row(session, applied, record.name)
    if row.state in (SecretState.ORDERED, SecretState.REMOVING) and record.version != row.version:
        row.stored_version = None
        return  # something newer is on its way
    row.stored_version = None
    _settle(session, applied, row, SecretState.REMOVED, None)


HANDLERS: Final[Handlers] = {
    SecretStored: on_secret_stored,
    SecretRefused: on_secret_refused,
    SecretForgotten: on_secret_forgotten,
}


def _row(session: Session, applied: Applied, name: str) -> DeviceSecret:
    key = (applied.principal, name)
    row = applied.find(session, DeviceSecret, key)
    if row is not None:
        return row
    _check_number(session, applied)
    return applied.make(
        DeviceSecret,
        key,
        principal=applied.principal,
        name=name,
        state=SecretState.ORDERED.value,
        changed_at=applied.now,
    )


def _check_number(session: Session, applied: Applied) -> None:
    applied.settle(session)
    if repository.count_of(session, applied.principal) >= SECRETS_MAX:
        raise CapacityError(
            f"The device has named {SECRETS_MAX} secrets; no more are kept.",
            bound="SECRETS_MAX",
            limit=SECRETS_MAX,
        )


def _settle(
    session: Session, applied: Applied, row: DeviceSecret, state: SecretState, reason: str | None
) -> None:
    if row.box_hash is not None:
        repository.forget_box(session, row.box_hash)
    row.state, row.reason, row.box_hash, row.changed_at = state.value, reason, None, applied.now
