"""Who speaks at the broker with a certificate of this hub's and is no device here: after the hub was restored from a
backup, whoever was enrolled since it was made. A person has to let it in again, so its name is kept for the doctor.

Names are not proof of anything, so only a few are kept, and none for long.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, delete, exists
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloud.devices.tables import Device, Refusal

UNKNOWN_DEVICE: Final = "unknown_device"
"""The reason under which the messages of a stranger are counted."""
STRANGERS_MAX: Final = 100
KEPT: Final = timedelta(days=1)
"""Who has been silent for longer need not be looked for."""


def note_strangers(session: Session, heard: Mapping[str, int], now: datetime) -> None:
    """`heard`: how many messages came under each name. Names beyond `STRANGERS_MAX` are not kept."""
    session.execute(
        delete(Refusal).where(
            col(Refusal.reason) == UNKNOWN_DEVICE, col(Refusal.last_at) < now - KEPT, ~_is_device()
        )
    )
    known = set(strangers(session, now))
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    for name, count in sorted(heard.items()):  # in one order, as another worker may be about the same
        if name not in known and len(known) >= STRANGERS_MAX:
            continue
        known.add(name)
        row = insert(Refusal).values(principal=name, reason=UNKNOWN_DEVICE, count=count, last_at=now)
        session.execute(
            row.on_conflict_do_update(
                index_elements=[col(Refusal.principal), col(Refusal.reason)],
                set_={"count": col(Refusal.count) + row.excluded.count, "last_at": now},
            )
        )


def strangers(session: Session, now: datetime) -> list[str]:
    """Who was heard lately and is no device."""
    query = select(Refusal.principal).where(
        Refusal.reason == UNKNOWN_DEVICE, col(Refusal.last_at) >= now - KEPT, ~_is_device()
    )
    return list(session.exec(query.order_by(col(Refusal.principal)).limit(STRANGERS_MAX)).all())


def _is_device() -> ColumnElement[bool]:
    return exists().where(col(Device.principal) == col(Refusal.principal))
