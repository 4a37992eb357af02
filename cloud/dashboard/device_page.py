"""One device: what needs a look, who it is, its presence, logs, settings, measurements and last records.

Kept up to date while it is open (`Live`): a section is built anew when what it shows has changed, and only then.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from nicegui import ui

from cloud.caller import Caller
from cloud.dashboard.cells import device_name
from cloud.dashboard.charts import Charts
from cloud.dashboard.device_sections import (
    build_identity,
    build_letters,
    build_logs,
    build_presence,
    build_records,
    build_settings,
    state_word,
)
from cloud.dashboard.elements import Age, Tag, Text
from cloud.dashboard.facts import DevicePage, MetricsFacts
from cloud.dashboard.frame import command_line, frame
from cloud.dashboard.live import Answer, DeviceAnswer, Live
from cloud.dashboard.query import DeviceQuery, MetricsSpan
from cloud.dashboard.remedies import needed_for, remedies
from cloud.dashboard.shown import shown
from cloud.devices.tables import DeviceStatus
from shared.errors import UnavailableError


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
        caller: Caller,
        default_tenant: str,
    ) -> None:
        """`caller`: whose page it is; commands that one may not use are not shown."""
        self._live = live
        self._caller = caller
        self._query = query
        self._default_tenant = default_tenant
        self._client = ui.context.client
        self._is_paused = False
        self._now_ms = at_ms
        with frame(at_ms, self._pause) as self._state:
            self._sections = [
                _Section("head", self._build_head, _head_facts),
                _Section("remedies", self._build_remedies, lambda page: remedies(page, self._now_ms)),
                _Section("presence", build_presence, _presence_facts),
                _Section("identity", build_identity, _identity_facts),
                _Section("logs", build_logs, lambda page: (page.lanes, page.orders_waiting)),
                _Section("settings", build_settings, lambda page: page.twin),
            ]
            self._charts = Charts(query.span, self._choose_span)
            self._sections += [
                _Section("letters", build_letters, lambda page: (page.dead_letters, page.refusals)),
                _Section("records", build_records, lambda page: page.records),
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
            state_word(page.row.presence)
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
                    if self._caller.may(needed_for(command)):
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
