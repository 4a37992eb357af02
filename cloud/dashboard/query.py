"""Which devices a person wants to see, and in what order: a value that fits into an address."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

TEXT_MAX_CHARS: Final = 80
PAGE_ROWS: Final = 50
PAGE_MAX: Final = 1_000_000
_PAGE_DIGITS: Final = 7


class Sort(StrEnum):
    """What the rows are ordered by. Equal ones follow their names."""

    NAME = "name"
    LAG = "lag"
    LAST_RECORD = "last_record"


class Only(StrEnum):
    """Devices that need a look."""

    NOT_ACTIVE = "not_active"
    BEHIND = "behind"
    CONDITIONS = "conditions"
    UNSETTLED = "unsettled"


class MetricsSpan(StrEnum):
    """How far back measurements are drawn."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"

    @property
    def ms(self) -> int:
        return {MetricsSpan.HOUR: 1, MetricsSpan.DAY: 24, MetricsSpan.WEEK: 168}[self] * 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceQuery:
    """The page of one device. `tenant`: who asks sees only its devices; None: all."""

    principal: str
    tenant: str | None
    span: MetricsSpan = MetricsSpan.HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetQuery:
    """Empty texts filter nothing. `page` counts from 1; one beyond the last means the last.

    `tenant`: who asks sees only its devices; None: all. It is no filter: it never comes out of an address.
    """

    tenant: str | None
    text: str = ""
    presence: str = ""
    site: str = ""
    group: str = ""
    only: Only | None = None
    sort: Sort = Sort.NAME
    is_descending: bool = False
    page: int = 1

    @classmethod
    def from_address(cls, values: Mapping[str, str], tenant: str | None) -> Self:
        """Out of an address's query. What cannot be understood is left out: an old bookmark still opens."""
        return cls(
            tenant=tenant,
            text=values.get("text", "")[:TEXT_MAX_CHARS],
            presence=values.get("presence", "")[:TEXT_MAX_CHARS],
            site=values.get("site", "")[:TEXT_MAX_CHARS],
            group=values.get("group", "")[:TEXT_MAX_CHARS],
            only=Only(values["only"]) if values.get("only") in set(Only) else None,
            sort=Sort(values["sort"]) if values.get("sort") in set(Sort) else Sort.NAME,
            is_descending=values.get("order") == "down",
            page=_page(values.get("page", "")),
        )

    def to_address(self) -> dict[str, str]:
        """What `from_address` reads, without what is as usual."""
        values = {
            "text": self.text,
            "presence": self.presence,
            "site": self.site,
            "group": self.group,
            "only": self.only or "",
            "sort": "" if self.sort is Sort.NAME else self.sort,
            "order": "down" if self.is_descending else "",
            "page": "" if self.page == 1 else str(self.page),
        }
        return {key: str(value) for key, value in values.items() if value}

    @property
    def is_filtered(self) -> bool:
        plain = FleetQuery(tenant=self.tenant)
        return self != replace(plain, sort=self.sort, is_descending=self.is_descending, page=self.page)

    def sorted_by(self, sort: Sort) -> Self:
        """As a click on a column's head: the same column turns around; another begins with what matters most."""
        turned = not self.is_descending if sort is self.sort else sort is not Sort.NAME
        return replace(self, sort=sort, is_descending=turned, page=1)


@dataclass(frozen=True, slots=True)
class MemoryQuery:
    """What the devices of a tenant propose to the fleet."""

    tenant: str


def _page(text: str) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= _PAGE_DIGITS
    return min(max(int(text), 1), PAGE_MAX) if is_number else 1
