"""One device: what needs a look, who it is, its presence, logs, settings, measurements and last records.

Kept up to date while it is open (`Live`): a section is built anew when what it shows has changed, and only then.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from nicegui import ui

from cloud.dashboard.cells import BROKER_WORDS, amount, device_name, said, settings_word, size
from cloud.dashboard.charts import Charts
from cloud.dashboard.elements import Age, Tag, Text
from cloud.dashboard.facts import BrokerSession, DevicePage, GapFacts, LaneFacts, MetricsFacts
from cloud.dashboard.frame import command_line, frame
from cloud.dashboard.live import Answer, DeviceAnswer, Live
from cloud.dashboard.query import DeviceQuery, MetricsSpan
from cloud.dashboard.remedies import remedies
from cloud.dashboard.shown import shown, shown_json
from cloud.devices.tables import DeviceStatus
from shared.clock import from_ms
from shared.errors import UnavailableError

SETTINGS_SHOWN: Final = 100
STATE_MARKS: Final = {"online": "●", "stale": "◐", "offline": "○", "lost": "✕"}
REASON_WORDS: Final = {
    "shed": "metrics that made room",
    "branch": "in the log it went on from",
    "lost": "lost",
    "store_lost": "the device's store was lost",
    "branched": "a fork was resolved",
    "hub_restored": "the hub was restored from a backup",
}


class DeviceView:
    """One open page. A `cloud.dashboard.live.Watcher`; made within NiceGUI's page function."""

    def __init__(
        self,
        live: Live,
        query: DeviceQuery,
        page: DevicePage,
        metrics: MetricsFacts,
        at_ms: int,
        *,
        default_tenant: str,
    ) -> None:
        self._live = live
        self._query = query
        self._default_tenant = default_tenant
        self._client = ui.context.client
        self._is_paused = False
        self._now_ms = at_ms
        with frame(at_ms, self._pause) as self._state:
            self._sections = [
                _Section("head", self._build_head, _head_facts),
                _Section("remedies", self._build_remedies, lambda page: remedies(page, self._now_ms)),
                _Section("presence", _build_presence, _presence_facts),
                _Section("identity", _build_identity, _identity_facts),
                _Section("logs", _build_logs, lambda page: (page.lanes, page.orders_waiting)),
                _Section("settings", _build_settings, lambda page: page.twin),
            ]
            self._charts = Charts(query.span, self._choose_span)
            self._sections += [
                _Section("letters", _build_letters, lambda page: (page.dead_letters, page.refusals)),
                _Section("records", _build_records, lambda page: page.records),
            ]
            self._news = Text("div", "", "unseen", role="status", aria_live="polite")
        self._presence = page.row.presence
        self._show(page, metrics)

    # --- a watcher

    @property
    def question(self) -> DeviceQuery | None:
        return None if self._is_paused else self._query

    def take(self, answer: Answer, at_ms: int) -> None:
        assert isinstance(answer, DeviceAnswer)
        self._now_ms = at_ms
        self._state.beat(at_ms)
        if answer.page is None or answer.metrics is None:
            self._state.fail("This device is no longer enrolled.")
            return
        if answer.page.row.presence != self._presence:
            self._presence = answer.page.row.presence
            self._news.show(f"The device is {self._presence}")
        self._show(answer.page, answer.metrics)

    def fail(self, problem: str) -> None:
        self._state.fail(problem)

    # --- what a person does

    def _pause(self, is_paused: bool) -> None:
        self._is_paused = is_paused

    async def _choose_span(self, span: MetricsSpan) -> None:
        self._query = replace(self._query, span=span)
        try:
            answer, at_ms = await self._live.ask(self._query)
        except UnavailableError as error:
            self.fail(str(error))
            return
        if self._query.span is span and not self._client.is_deleted:
            self.take(answer, at_ms)

    # --- what is shown

    def _show(self, page: DevicePage, metrics: MetricsFacts) -> None:
        for section in self._sections:
            section.show(page)
        self._charts.show(metrics, self._query.span, self._now_ms)

    def _build_head(self, page: DevicePage) -> None:
        with Tag("div", "title"):
            Text("h1", device_name(page.row.principal, self._default_tenant), "device-text")
            _state(page.row.presence)
            if page.row.status != DeviceStatus.ACTIVE:
                Text("span", shown(page.row.status), "badge bad")
        if page.deaf_since_ms is not None:
            with Tag("div", "banner", role="status"):
                Text("strong", "The hub does not hear its devices.")
                Text("span", " Presence is as it was ")
                Age(page.deaf_since_ms)

    def _build_remedies(self, page: DevicePage) -> None:
        found = remedies(page, self._now_ms)
        if not found:
            return
        Text("h2", "Needs a look")
        for remedy in found:
            with Tag("article", f"remedy {remedy.weight}"):
                with Tag("h3"):
                    Text("span", shown(remedy.title))
                    if remedy.since_ms is not None:
                        with Tag("small"):
                            Text("span", " since ")
                            Age(remedy.since_ms, after="")
                Text("p", shown(remedy.text))
                for command in remedy.commands:
                    command_line(shown(command))


@dataclass(slots=True)
class _Section:
    """A part of the page. `facts`: what of the page it shows, to see whether that changed."""

    name: str
    build: Callable[[DevicePage], None]
    facts: Callable[[DevicePage], object]
    _place: Tag = field(init=False)
    _shown: object = field(init=False, default_factory=object)

    def __post_init__(self) -> None:
        self._place = Tag("section", f"part part-{self.name}", data_part=self.name)

    def show(self, page: DevicePage) -> None:
        facts = self.facts(page)
        if facts == self._shown:
            return
        self._shown = facts
        self._place.clear()
        with self._place:
            self.build(page)


def _head_facts(page: DevicePage) -> object:
    return page.row.presence, page.row.status, page.deaf_since_ms


def _presence_facts(page: DevicePage) -> object:
    row = page.row
    facts = (row.broker, row.broker_at_ms, row.hello_at_ms, row.ack_at_ms, row.record_at_ms)
    return facts, row.lag_records, row.lag_since_ms, row.waiting_bytes


def _identity_facts(page: DevicePage) -> object:
    return (
        page.version,
        page.labels,
        page.row.site,
        page.row.group,
        page.certificate_until_ms,
        page.signing_kid,
    )


def _build_presence(page: DevicePage) -> None:
    row = page.row
    Text("h2", "Presence")
    with Tag("dl", "facts"):
        with _fact("Broker session"):
            Text("span", BROKER_WORDS[row.broker])
            if row.broker is not BrokerSession.NEVER:
                with Tag("small"):
                    Age(row.broker_at_ms)
        for title, at_ms in (
            ("Last hello", row.hello_at_ms),
            ("Last acknowledgement", row.ack_at_ms),
            ("Last record", row.record_at_ms),
        ):
            with _fact(title):
                Age(at_ms)
        with _fact("Journal lag"):
            Text("span", f"{amount(row.lag_records)} records" if row.lag_records else "none")
            if row.lag_since_ms is not None:
                with Tag("small"):
                    Age(row.lag_since_ms, after=" behind")
        with _fact("Waiting"):
            Text("span", size(row.waiting_bytes))


def _build_identity(page: DevicePage) -> None:
    Text("h2", "Identity")
    labels = ", ".join(f"{name}={value}" for name, value in page.labels)
    with Tag("dl", "facts"):
        for title, text in (
            ("Principal", page.row.principal),
            ("Site", page.row.site or "none"),
            ("Group", page.row.group or "none"),
            ("Labels", labels or "none"),
            ("Version", page.version or "unknown"),
            ("Signing key", page.signing_kid),
            ("Certificate until", _day(page.certificate_until_ms)),
            ("Enrolled", _day(page.enrolled_at_ms)),
        ):
            with _fact(title):
                Text("span", shown(text), "device-text")


def _build_logs(page: DevicePage) -> None:
    Text("h2", "Logs")
    if not page.lanes:
        Text("p", "The device has not sent a record yet, and nothing was ordered of it.", "quiet")
        return
    if page.orders_waiting:
        waiting = (
            "1 order waits" if page.orders_waiting == 1 else f"{amount(page.orders_waiting)} orders wait"
        )
        Text("p", f"{waiting} for the device.")
    heads = ("Log", "Epoch", "First held", "Head", "Behind", "Last record", "State", "Gaps")
    with _table("Logs of this device", heads):
        for lane in page.lanes:
            with Tag(
                "tr", "halted" if lane.closed_at_ms is not None or lane.forked_at_seq is not None else ""
            ):
                Text("th", lane.lane, scope="row")
                _cell("Epoch", lane.epoch, "code")
                _cell("First held", amount(lane.tail_seq), "tight")
                _cell("Head", amount(lane.head_seq), "tight")
                _cell("Behind", _behind(lane), "tight")
                with Tag("td", data_label="Last record"):
                    Age(lane.last_at_ms)
                _cell("State", _lane_state(lane))
                with Tag("td", data_label="Gaps"):
                    _gaps(lane)
    if page.lane_count > len(page.lanes):
        Text("p", f"{amount(page.lane_count - len(page.lanes))} older logs are not shown.", "quiet")


def _behind(lane: LaneFacts) -> str:
    if lane.acked is not None:
        return f"{amount(lane.head_seq - lane.acked)} not acknowledged"
    behind = lane.writer_head - lane.head_seq
    return f"{amount(behind)} ({size(lane.writer_bytes)})" if behind else "0"


def _lane_state(lane: LaneFacts) -> str:
    if lane.closed_at_ms is not None:
        return f"closed: {_reason(lane.close_reason or 'no reason kept')}"
    if lane.forked_at_seq is not None:
        return f"forked after {amount(lane.forked_at_seq)}"
    return lane.phase or "open"


def _gaps(lane: LaneFacts) -> None:
    if not lane.gap_count:
        Text("span", "none", "quiet")
        return
    with Tag("ul", "plain"):
        for gap in lane.gaps:
            Text("li", _gap(gap))
        if lane.gap_count > len(lane.gaps):
            Text("li", f"and {amount(lane.gap_count - len(lane.gaps))} more", "quiet")


def _gap(gap: GapFacts) -> str:
    places = amount(gap.first_seq)
    if gap.last_seq != gap.first_seq:
        places += f"–{amount(gap.last_seq)}"
    return f"{places}: {_reason(gap.reason)}"


def _build_settings(page: DevicePage) -> None:
    twin = page.twin
    Text("h2", "Settings")
    with Tag("p"):
        word = settings_word(twin.state, twin.desired_revision, twin.reported_revision)
        Text("span", word, f"settings settings-{twin.state}")
        if twin.ordered_at_ms is not None:
            state = "taken by the device" if twin.is_acknowledged else "not taken yet"
            Text("span", f" · revision {twin.ordered_revision} was ordered ", "quiet")
            Age(twin.ordered_at_ms)
            Text("span", f", {state}", "quiet")
        if twin.reported_at_ms is not None:
            Text("span", " · reported ", "quiet")
            Age(twin.reported_at_ms)
    if not twin.lines:
        Text("p", "Nothing is desired of this device: it runs on its own settings.", "quiet")
        return
    differing = [line for line in twin.lines if not line.is_met]
    if not differing:
        Text("p", f"All {len(twin.lines)} desired settings are as the device reports.", "quiet")
        return
    with _table("Settings that differ", ("Setting", "Desired", "Reported", "State")):
        for line in differing[:SETTINGS_SHOWN]:
            with Tag("tr"):
                Text("th", shown(line.path), "code device-text", scope="row")
                _cell(
                    "Desired", shown_json(line.desired) if line.is_desired else "not set", "code device-text"
                )
                _cell(
                    "Reported",
                    shown_json(line.reported) if line.is_reported else "not set",
                    "code device-text",
                )
                _cell("State", shown(f"refused: {line.refused}") if line.refused else "waits for the device")
    rest = len(twin.lines) - min(len(differing), SETTINGS_SHOWN)
    if rest:
        more = max(len(differing) - SETTINGS_SHOWN, 0)
        Text("p", f"{rest - more} others agree." + (f" {more} more differ." if more else ""), "quiet")


def _build_letters(page: DevicePage) -> None:
    if page.dead_letters:
        Text("h2", "Dead letters")
        with _table(
            "Records that were not understood or not applied", ("Log", "Record", "Reason", "Since", "State")
        ):
            for letter in page.dead_letters:
                with Tag("tr"):
                    Text("th", f"{letter.lane} {letter.epoch}", scope="row")
                    _cell("Record", amount(letter.seq), "tight")
                    _cell("Reason", shown(letter.reason), "device-text")
                    with Tag("td", data_label="Since"):
                        Age(letter.at_ms)
                    _cell("State", letter.resolution or "waits for a decision")
    if page.refusals:
        Text("h2", "Refused messages")
        with _table("Messages that the gate refused", ("Reason", "Messages", "Last")):
            for refusal in page.refusals:
                with Tag("tr"):
                    Text("th", shown(refusal.reason), scope="row")
                    _cell("Messages", amount(refusal.count), "tight")
                    with Tag("td", data_label="Last"):
                        Age(refusal.last_at_ms)


def _build_records(page: DevicePage) -> None:
    Text("h2", "Last journal records")
    if not page.records:
        Text(
            "p", "None yet. The first comes when the daemon starts: `covey-edge run` on the device.", "quiet"
        )
        return
    with _table("Last journal records", ("Record", "Made", "Kind", "Says")):
        for record in page.records:
            with Tag("tr"):
                Text("th", amount(record.seq), "tight", scope="row")
                with Tag("td", "tight", data_label="Made"):
                    Age(record.at_ms)
                _cell("Kind", shown(record.kind), "code tight device-text")
                says = "not understood" if record.fields is None else said(record.fields)
                with Tag("td", "code device-text", data_label="Says"):
                    Text("span", says)
                    if record.dead_letter:
                        Text("span", shown(f"dead letter: {record.dead_letter}"), "badge warn")


def _reason(code: str) -> str:
    return REASON_WORDS.get(code) or shown(code)


def _day(at_ms: int) -> str:
    return f"{from_ms(at_ms):%Y-%m-%d %H:%M} UTC"


def _state(presence: str) -> None:
    with Tag("span", f"state state-{presence}"):
        Text("i", STATE_MARKS.get(presence, "?"), aria_hidden="true")
        Text("span", presence)


def _fact(title: str) -> Tag:
    with Tag("div"):
        Text("dt", title)
        return Tag("dd")


def _table(caption: str, heads: tuple[str, ...]) -> Tag:
    """A table's body, to be filled with rows."""
    with Tag("div", "wide"), Tag("table", "list"):
        Text("caption", caption, "unseen")
        with Tag("thead"), Tag("tr"):
            for head in heads:
                Text("th", head, scope="col")
        return Tag("tbody")


def _cell(label: str, text: str, classes: str = "") -> None:
    Text("td", text, classes, data_label=label)
