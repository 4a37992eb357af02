"""Facts in the words of the page: pure."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from cloud.dashboard.door import PREFIX
from cloud.dashboard.facts import BrokerSession, DeviceRow
from cloud.dashboard.shown import shown, shown_json
from cloud.twins.schemas import TwinState

BROKER_WORDS: Final = {
    BrokerSession.NEVER: "never seen",
    BrokerSession.OPEN: "connected",
    BrokerSession.DOUBTED: "reported gone",
    BrokerSession.ENDED: "gone",
}
CONDITIONS_SHOWN: Final = 4
NAME_MAX_CHARS: Final = 64
HASH_CHARS: Final = 8

_BYTES: Final = 1_000
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def row_cells(row: DeviceRow, default_tenant: str) -> dict[str, Any]:
    """The prop of a `FleetRow`. Times stay instants: the browser makes ages of them."""
    conditions = [
        [shown(code, NAME_MAX_CHARS), since_ms] for code, since_ms in row.conditions[:CONDITIONS_SHOWN]
    ]
    if more := len(row.conditions) - CONDITIONS_SHOWN:
        conditions += [[f"{more} more", None]] if more > 0 else []
    return {
        "principal": row.principal,
        "href": device_path(row.principal),
        "name": device_name(row.principal, default_tenant),
        "where": " · ".join(shown(place, NAME_MAX_CHARS) for place in (row.site, row.group) if place),
        "status": shown(row.status, NAME_MAX_CHARS),
        "reason": shown(row.status_reason or "", NAME_MAX_CHARS),
        "forked": list(row.forked),
        "presence": row.presence,
        "broker": row.broker.value,
        "broker_word": BROKER_WORDS[row.broker],
        "broker_at": row.broker_at_ms,
        "hello_at": row.hello_at_ms,
        "ack_at": row.ack_at_ms,
        "record_at": row.record_at_ms,
        "lag_records": row.lag_records,
        "lag_since": row.lag_since_ms,
        "waiting_bytes": row.waiting_bytes,
        "settings": row.settings,
        "settings_word": settings_word(row.settings, row.desired_revision, row.reported_revision),
        "conditions": conditions,
    }


def settings_word(state: str, desired: int, reported: int | None) -> str:
    """Desired against reported revision, in a few words."""
    match state:
        case TwinState.IN_SYNC:
            return f"in step at {desired}"
        case TwinState.REFUSED:
            return f"refused some of {desired}"
        case TwinState.PENDING:
            return f"wants {desired}, runs {reported}"
        case _:
            return f"wants {desired}, none reported" if desired else "none desired"


def said(fields: Mapping[str, Any]) -> str:
    """A record's fields on one line. Content is beside the log: of it the hash's beginning and the size are told."""
    return shown(" ".join(f"{name}={_value(value)}" for name, value in fields.items()))


def device_path(principal: str) -> str:
    return f"{PREFIX}/device/{quote(principal, safe='')}"


def device_name(principal: str, default_tenant: str) -> str:
    """As people type it to `covey-hub`: without the tenant that is meant anyway."""
    return shown(principal.removeprefix(f"{default_tenant}."), NAME_MAX_CHARS)


def amount(count: int) -> str:
    return f"{count:,}"


def size(count: int) -> str:
    """Bytes, as `covey.js` writes them."""
    value, unit = float(count), 0
    while value >= _BYTES and unit < len(_UNITS) - 1:
        value, unit = value / _BYTES, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit and value < 10 else f"{value:.0f} {_UNITS[unit]}"


def _value(value: object) -> str:
    match value:
        case {"hash": bytes() as digest, "size": int() as count}:
            return f"<{digest.hex()[:HASH_CHARS]} {size(count)}>"
        case str():
            return value
        case _:
            return shown_json(value)
