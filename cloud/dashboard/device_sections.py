"""The parts of a device's page: each function draws one, from facts, as plain elements with text in them."""

from typing import Final

from cloud.dashboard.cells import BROKER_WORDS, amount, said, settings_word, size
from cloud.dashboard.elements import Age, Tag, Text
from cloud.dashboard.facts import BrokerSession, DevicePage, GapFacts, LaneFacts
from cloud.dashboard.shown import shown, shown_json
from shared.clock import from_ms

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


def build_presence(page: DevicePage) -> None:
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


def build_identity(page: DevicePage) -> None:
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


def build_logs(page: DevicePage) -> None:
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


def build_settings(page: DevicePage) -> None:
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
        agree = rest - more
        notes = [f"{agree} {'other agrees' if agree == 1 else 'others agree'}."] if agree else []
        notes += [f"{more} more differ."] if more else []
        Text("p", " ".join(notes), "quiet")


def build_letters(page: DevicePage) -> None:
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


def build_records(page: DevicePage) -> None:
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


def state_word(presence: str) -> None:
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
