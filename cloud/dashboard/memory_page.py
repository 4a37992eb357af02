"""What the fleet has learned: what waits for a decision, with the command for it, and what was let in.

Kept up to date while it is open (`Live`): its tables are built anew when what they show has changed, and only then.
"""

from collections.abc import Sequence

from cloud.caller import Caller, Permission
from cloud.dashboard.cells import amount, device_name
from cloud.dashboard.elements import Age, Tag, Text
from cloud.dashboard.frame import command_line, empty_state, frame
from cloud.dashboard.live import Answer, MemoryAnswer
from cloud.dashboard.memory_reading import LearnedItem, MemoryPage
from cloud.dashboard.query import MemoryQuery
from cloud.dashboard.shown import shown


class MemoryView:
    """One open page. A `cloud.dashboard.live.Watcher`; made within NiceGUI's page function."""

    def __init__(self, query: MemoryQuery, page: MemoryPage, at_ms: int, *, caller: Caller) -> None:
        """`caller`: whose page it is; commands that one may not use are not shown."""
        self._query = query
        self._caller = caller
        self._is_paused = False
        self._shown: MemoryPage | None = None
        with frame(at_ms, self._pause) as self._state:
            Text("h1", "What the fleet has learned")
            self._waiting = Tag("section", "part part-waiting", data_part="waiting")
            self._approved = Tag("section", "part part-approved", data_part="approved")
        self._show(page)

    # --- a watcher

    @property
    def question(self) -> MemoryQuery | None:
        return None if self._is_paused else self._query

    def take(self, answer: Answer, at_ms: int) -> None:
        assert isinstance(answer, MemoryAnswer)
        self._state.beat(at_ms)
        self._show(answer.page)

    def fail(self, problem: str) -> None:
        self._state.fail(problem)

    # --- what a person does

    def _pause(self, is_paused: bool) -> None:
        self._is_paused = is_paused

    # --- what is shown

    def _show(self, page: MemoryPage) -> None:
        if page == self._shown:
            return
        self._shown = page
        self._waiting.clear()
        with self._waiting:
            self._build_waiting(page)
        self._approved.clear()
        with self._approved:
            self._build_approved(page)

    def _build_waiting(self, page: MemoryPage) -> None:
        if not page.waiting:
            with Tag("div", "empty"):
                empty_state("Nothing waits", "Devices propose facts and procedures; here they are reviewed.")
            return
        Text("h2", f"{amount(page.waiting_count)} wait for a decision")
        self._table("Items that wait", page.waiting)
        _and_more(page.waiting_count - len(page.waiting), "covey-hub memory list")
        if self._caller.may(Permission.AUTHOR):
            Text("p", "Let one in, or do not:")
            command_line(f"covey-hub memory approve {page.waiting[0].id}")
            command_line(f"covey-hub memory reject {page.waiting[0].id}")

    def _build_approved(self, page: MemoryPage) -> None:
        if not page.approved:
            return
        Text("h2", f"{amount(page.approved_count)} let in")
        self._table("Items that were let in", page.approved, is_decided=True)
        _and_more(page.approved_count - len(page.approved), "covey-hub memory list --state approved")
        if self._caller.may(Permission.AUTHOR):
            Text("p", "Take one back:")
            command_line(f"covey-hub memory retract {page.approved[0].id}")

    def _table(self, caption: str, items: Sequence[LearnedItem], *, is_decided: bool = False) -> None:
        heads = ("Item", "Device", "For", "Says", "Against it", "Labels", "Noted")
        with Tag("div", "wide"), Tag("table", "list"):
            Text("caption", caption, "unseen")
            with Tag("thead"), Tag("tr"):
                for head in (*heads, "By") if is_decided else heads:
                    Text("th", head, scope="col")
            with Tag("tbody"):
                for item in items:
                    self._row(item, is_decided=is_decided)

    def _row(self, item: LearnedItem, *, is_decided: bool) -> None:
        with Tag("tr", data_item=item.id):
            Text("th", item.id, "code", scope="row")
            _cell("Device", device_name(item.device, self._query.tenant), "device-text")
            _cell("For", shown(item.place), "device-text")
            _cell("Says", "(forgotten)" if item.says is None else shown(item.says), "device-text")
            with (
                Tag("td", "device-text", data_label="Against it"),
                Tag("div"),
            ):  # one below the other, narrow too
                for device, value in item.against:
                    Text("div", f"{shown(device)} says {shown(value)}")
            _cell("Labels", shown(", ".join(item.labels)), "device-text")
            with Tag("td", data_label="Noted"):
                Age(item.noted_ms)
            if is_decided:
                _cell("By", shown(item.decided_by))


def _and_more(count: int, command: str) -> None:
    if count > 0:
        Text("p", f"and {amount(count)} more:", "quiet")
        command_line(command)


def _cell(label: str, text: str, classes: str = "") -> None:
    Text("td", text, classes, data_label=label)
