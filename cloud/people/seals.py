"""Rows about people carry a MAC (`cloud.row_seal`). Whatever does not fit lets nobody in, and is told once in the log.

Every column that decides anything is under it. Which a row's columns are stands here and nowhere else.
"""

import logging
import threading
from typing import Final

from cloud.caller import ROOT
from cloud.db import table_of
from cloud.people.tables import ApiToken, BrowserSession, Membership, User
from cloud.row_seal import RowSeal
from shared.clock import to_ms

logger = logging.getLogger(__name__)

REPORTED_MAX: Final = 1_000
"""Rows that are remembered as told."""

Sealed = User | Membership | BrowserSession | ApiToken


class PeopleSeals:
    """Seals rows and looks at seals. Thread-safe."""

    def __init__(self, seal: RowSeal, *, root_credential: bytes = b"") -> None:
        """`root_credential`: a hash of the admin token; sessions that were begun with another one end."""
        self._seal = seal
        self._root_credential = root_credential
        self._reported: set[str] = set()
        self._lock = threading.Lock()

    def seal(self, row: Sealed) -> None:
        """Write the row's MAC. Last before it is stored, after each change."""
        row.mac = self._seal.of(_table(row), *self._decisive(row))

    def fits(self, row: Sealed) -> bool:
        """Whether the row is as the hub wrote it; what is not is logged, once."""
        if self.is_genuine(row):
            return True
        name = label_of(row)
        with self._lock:
            is_new = name not in self._reported
            if is_new and len(self._reported) < REPORTED_MAX:
                self._reported.add(name)
        if is_new:
            logger.error("%s was changed behind the hub's back and lets nobody in; `covey-hub doctor`", name)
        return False

    def is_genuine(self, row: Sealed) -> bool:
        """As `fits`, without a word."""
        return self._seal.fits(row.mac, _table(row), *self._decisive(row))

    def _decisive(self, row: Sealed) -> tuple[object, ...]:
        match row:
            case User():
                return (
                    row.name,
                    row.password_hash,
                    row.totp_secret,
                    row.totp_last_step,
                    row.oidc_issuer,
                    row.oidc_subject,
                    row.is_disabled,
                    to_ms(row.created_at),
                )
            case Membership():
                return (row.user_name, row.tenant, row.role)
            case BrowserSession():
                return (
                    row.id_sha256,
                    row.user_name,
                    row.tenant,
                    to_ms(row.created_at),
                    to_ms(row.seen_at),
                    to_ms(row.expires_at),
                    self._root_credential if row.user_name == ROOT else b"",
                )
            case ApiToken():
                return (
                    row.id,
                    row.secret_sha256,
                    row.tenant,
                    row.role,
                    row.created_by,
                    to_ms(row.expires_at),
                    None if row.revoked_at is None else to_ms(row.revoked_at),
                )


def label_of(row: Sealed) -> str:
    """How a row is called in the log and by the doctor: no secret."""
    match row:
        case User():
            return f"the user {row.name}"
        case Membership():
            return f"the role of {row.user_name} in {row.tenant}"
        case BrowserSession():
            return f"a session of {row.user_name}"
        case ApiToken():
            return f"the API token {row.id}"


def _table(row: Sealed) -> str:
    return table_of(type(row)).name
