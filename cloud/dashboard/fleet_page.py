"""The fleet: totals to filter by, and a page of its devices. Kept up to date while it is open (`Live`)."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from urllib.parse import urlencode

from nicegui import ui

from cloud.dashboard.cells import amount, row_cells, size
from cloud.dashboard.door import HOME_PATH
from cloud.dashboard.elements import Age, Button, FleetRow, Tag, Text
from cloud.dashboard.facts import DeviceRow, FleetPage, FleetSummary
from cloud.dashboard.frame import empty_state, frame
from cloud.dashboard.live import Answer, FleetAnswer, Live
from cloud.dashboard.query import PAGE_ROWS, TEXT_MAX_CHARS, FleetQuery, Only, Sort
from cloud.dashboard.shown import shown
from cloud.devices.presence import PresenceState
from shared.errors import UnavailableError

TYPING_PAUSE_S: Final = 0.3
ANNOUNCED_MAX: Final = 3
COLUMNS: Final[tuple[tuple[str, Sort | None], ...]] = (
    ("Device", Sort.NAME),
    ("Presence", None),
    ("Broker session", None),
    ("Last hello", None),
    ("Last ack", None),
    ("Last record", Sort.LAST_RECORD),
    ("Journal lag", Sort.LAG),
    ("Waiting", None),
    ("Settings", None),
    ("Conditions", None),
)
ATTENTION: Final = {
    Only.BEHIND: "behind",
    Only.UNSETTLED: "settings differ",
    Only.CONDITIONS: "with conditions",
    Only.NOT_ACTIVE: "not active",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What may be chosen from, and the tenant that is not written before names."""

    sites: Sequence[str]
    groups: Sequence[str]
    default_tenant: str


class FleetView:
    """One open page. A `cloud.dashboard.live.Watcher`; made within NiceGUI's page function."""

    def __init__(
        self, live: Live, query: FleetQuery, choices: Choices, answer: FleetAnswer, at_ms: int
    ) -> None:
        self._live = live
        self._query = query
        self._choices = choices
        self._client = ui.context.client
        self._is_paused = False
        self._presence: dict[str, str] = {}
        self._rows: dict[str, FleetRow] = {}
        self._deaf_since_ms: int | None = None
        with frame(at_ms, self._pause) as self._state:
            Text("h1", "Fleet")
            self._deaf = Tag("div", "banner hidden", role="status")
            self._totals = Text("p", "", "totals")
            self._chips = _Chips(self._turn_presence, self._turn_only)
            self._build_filters()
            self._build_table()
            self._empty = Tag("section", "empty hidden")
            self._pager = _Pager(self._go_to)
            self._news = Text("div", "", "unseen", role="status", aria_live="polite")
        self._show(answer)

    # --- a watcher

    @property
    def question(self) -> FleetQuery | None:
        return None if self._is_paused else self._query

    def take(self, answer: Answer, at_ms: int) -> None:
        assert isinstance(answer, FleetAnswer)
        self._state.beat(at_ms)
        self._announce(answer.page.rows)
        self._show(answer)

    def fail(self, problem: str) -> None:
        self._state.fail(problem)

    # --- what a person does

    def _pause(self, is_paused: bool) -> None:
        self._is_paused = is_paused

    async def _turn_presence(self, state: str) -> None:
        await self._ask(replace(self._query, presence="" if self._query.presence == state else state, page=1))

    async def _turn_only(self, only: Only) -> None:
        await self._ask(replace(self._query, only=None if self._query.only is only else only, page=1))

    async def _sort(self, sort: Sort) -> None:
        await self._ask(self._query.sorted_by(sort))

    async def _go_to(self, page: int) -> None:
        await self._ask(replace(self._query, page=page))

    async def _filter(self, **values: str) -> None:
        # A browser of ours sends text; what another program sends is cut like an address.
        changed = {**self._query.to_address(), **{name: str(value) for name, value in values.items()}}
        await self._ask(replace(FleetQuery.from_address(changed, self._query.tenant), page=1))

    async def _ask(self, query: FleetQuery) -> None:
        self._query = query
        self._show_query()
        try:
            answer, at_ms = await self._live.ask(query)
        except UnavailableError as error:
            self.fail(str(error))
            return
        if self._query == query and not self._client.is_deleted:
            assert isinstance(answer, FleetAnswer)
            self._state.beat(at_ms)
            self._show(answer)

    # --- what is shown

    def _build_filters(self) -> None:
        with Tag("div", "filters", role="search", aria_label="Filter devices"):
            with Tag("div", "field grow"):
                Text("label", "Search", for_="filter-text")
                field = Tag(
                    "input",
                    id="filter-text",
                    type="search",
                    maxlength=TEXT_MAX_CHARS,
                    placeholder="name, site, group, version, condition",
                    autocomplete="off",
                    spellcheck="false",
                    defaultValue=self._query.text,
                )
                field.on(
                    "input",
                    lambda event: self._filter(text=event.args),
                    throttle=TYPING_PAUSE_S,
                    leading_events=False,
                    js_handler="(event) => emit(event.target.value)",
                )
            self._build_choice("site", "Site", "all sites", self._choices.sites, self._query.site)
            self._build_choice("group", "Group", "all groups", self._choices.groups, self._query.group)
            self._clear = Text("a", "Clear filters", "button", href=HOME_PATH)

    def _build_choice(
        self, name: str, label: str, everything: str, values: Sequence[str], chosen: str
    ) -> None:
        if not values:
            return
        with Tag("div", "field"):
            Text("label", label, for_=f"filter-{name}")
            with Tag("select", id=f"filter-{name}") as field:
                Text("option", everything, value="", selected=not chosen)
                for value in values:
                    Text("option", shown(value), value=value, selected=value == chosen)
            field.on(
                "change",
                lambda event: self._filter(**{name: event.args}),
                js_handler="(event) => emit(event.target.value)",
            )

    def _build_table(self) -> None:
        self._heads: dict[Sort, tuple[Tag, Button]] = {}
        with Tag("table", "fleet") as self._table:
            Text("caption", "Devices with what is known of their presence, journal and settings", "unseen")
            with Tag("thead"), Tag("tr"):
                for title, sort in COLUMNS:
                    if sort is None:
                        Text("th", title, scope="col")
                        continue
                    with Tag("th", scope="col") as head:
                        button = Button(title, partial(self._sort, sort), "sort")
                    self._heads[sort] = head, button
            self._body = Tag("tbody")

    def _show(self, answer: FleetAnswer) -> None:
        page, summary = answer.page, answer.summary
        if self._query.page != page.page:
            self._query = replace(self._query, page=page.page)
        self._presence = {row.principal: row.presence for row in page.rows}
        self._totals.show(_totals(summary))
        self._chips.show(summary, self._query)
        self._show_deaf(summary.deaf_since_ms)
        self._show_heads()
        self._show_rows(page.rows)
        self._show_empty(page, summary)
        self._pager.show(page)
        _hide(self._clear, not self._query.is_filtered)

    def _show_rows(self, rows: Sequence[DeviceRow]) -> None:
        """Rows that did not change are left alone: what is sent is what is news."""
        wanted = {row.principal: row_cells(row, self._choices.default_tenant) for row in rows}
        for principal in self._rows.keys() - wanted.keys():
            self._rows.pop(principal).delete()
        for principal, cells in wanted.items():
            if principal in self._rows:
                self._rows[principal].show(cells)
            else:
                with self._body:
                    self._rows[principal] = FleetRow(cells)
        ordered = [self._rows[principal] for principal in wanted]
        if self._body.default_slot.children != ordered:
            self._body.default_slot.children[:] = ordered
            self._body.update()

    def _show_heads(self) -> None:
        for sort, (head, button) in self._heads.items():
            is_chosen = sort is self._query.sort
            direction = "descending" if self._query.is_descending else "ascending"
            head.attributes(aria_sort=direction if is_chosen else "none")
            title = next(title for title, each in COLUMNS if each is sort)
            arrow = ("▼" if self._query.is_descending else "▲") if is_chosen else "↕"
            button.show(f"{title} {arrow}")

    def _show_deaf(self, since_ms: int | None) -> None:
        if since_ms == self._deaf_since_ms:
            return
        self._deaf_since_ms = since_ms
        self._deaf.clear()
        _hide(self._deaf, since_ms is None)
        if since_ms is not None:
            with self._deaf:
                Text("strong", "The hub does not hear its devices.")
                Text("span", " Presence is as it was ")
                Age(since_ms)
                Text("span", ". See whether the broker and an ingest worker run: ")
                Text("code", "covey-hub doctor")

    def _show_empty(self, page: FleetPage, summary: FleetSummary) -> None:
        kind = "" if page.rows else "fleet" if not summary.devices else "filter"
        if self._empty.props.get("data-kind", "") == kind:
            return
        self._empty.attributes(data_kind=kind)
        self._empty.clear()
        _hide(self._empty, not kind)
        _hide(self._table, bool(kind))
        with self._empty:
            if kind == "fleet":
                empty_state(
                    "No device is enrolled yet",
                    "Make a token on the hub, and spend it on the device. It appears here at once.",
                    "covey-hub token create --device NAME --ttl 1h",
                    "covey-edge enroll --token TOKEN",
                )
            elif kind == "filter":
                empty_state("No device is like that", "Choose other filters, or see all devices.")
                Text("a", "Clear filters", "button", href=HOME_PATH)

    def _show_query(self) -> None:
        address = urlencode(self._query.to_address())
        url = json.dumps(f"{HOME_PATH}?{address}" if address else HOME_PATH)
        self._client.run_javascript(f"history.replaceState({{}}, '', {url})")

    def _announce(self, rows: Sequence[DeviceRow]) -> None:
        """For who cannot see the colours change: what changed its presence among the rows that were there."""
        news = [
            f"{row_cells(row, self._choices.default_tenant)['name']} is {row.presence}"
            for row in rows
            if self._presence.get(row.principal, row.presence) != row.presence
        ]
        if len(news) > ANNOUNCED_MAX:
            news = [f"{len(news)} devices changed their presence"]
        if news:
            self._news.show(", ".join(news))


class _Chips:
    """Counts by presence and by what needs a look; each is a filter."""

    def __init__(
        self, on_presence: Callable[[str], Awaitable[None]], on_only: Callable[[Only], Awaitable[None]]
    ) -> None:
        self._chips: dict[str, tuple[Button, Text]] = {}
        with Tag("div", "chips"):
            with Tag("div", "chip-group", role="group", aria_label="By presence"):
                for state in PresenceState:
                    self._add(state, f"chip state-{state}", partial(on_presence, state.value))
            with Tag("div", "chip-group", role="group", aria_label="Needs a look"):
                for only in Only:
                    self._add(only, "chip", partial(on_only, only))

    def _add(self, name: str, classes: str, on_click: Callable[[], Awaitable[None]]) -> None:
        button = Button("", on_click, classes, aria_pressed="false")
        with button:
            count = Text("b", "0")
            Text("span", ATTENTION[Only(name)] if name in set(Only) else name)
        self._chips[name] = button, count

    def show(self, summary: FleetSummary, query: FleetQuery) -> None:
        counts: dict[str, int] = {state: summary.presence.get(state, 0) for state in PresenceState}
        counts |= {
            Only.BEHIND: summary.behind,
            Only.UNSETTLED: summary.unsettled,
            Only.CONDITIONS: summary.with_conditions,
            Only.NOT_ACTIVE: summary.not_active,
        }
        for name, (button, count) in self._chips.items():
            count.show(amount(counts[name]))
            button.attributes(aria_pressed="true" if name in (query.presence, query.only) else "false")


class _Pager:
    """Where one is among the pages, and the ways to others."""

    def __init__(self, go_to: Callable[[int], Awaitable[None]]) -> None:
        self._page, self._pages = 1, 1
        with Tag("nav", "pager", aria_label="Pages of devices"):
            self._text = Text("span", "")
            self._back = (
                Button("First", lambda: go_to(1)),
                Button("Previous", lambda: go_to(max(self._page - 1, 1))),
            )
            self._on = (
                Button("Next", lambda: go_to(min(self._page + 1, self._pages))),
                Button("Last", lambda: go_to(self._pages)),
            )

    def show(self, page: FleetPage) -> None:
        self._page, self._pages = page.page, page.pages
        first = (page.page - 1) * PAGE_ROWS + 1
        last = first + len(page.rows) - 1
        self._text.show(f"{amount(first)}–{amount(last)} of {amount(page.matched)}" if page.rows else "")
        for buttons, is_end in ((self._back, page.page == 1), (self._on, page.page == page.pages)):
            for button in buttons:
                button.attributes(disabled=is_end or None)


def _totals(summary: FleetSummary) -> str:
    devices = "1 device" if summary.devices == 1 else f"{amount(summary.devices)} devices"
    if not summary.lag_records:
        return f"{devices} · no journal record is waiting"
    return f"{devices} · {amount(summary.lag_records)} journal records and {size(summary.waiting_bytes)} are waiting"


def _hide(tag: Tag | Text, is_hidden: bool) -> None:
    tag.classes(**({"add": "hidden"} if is_hidden else {"remove": "hidden"}))
