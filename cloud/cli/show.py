"""How `covey-hub` prints: tables for people, JSON for programs. What is shown may come from a device: no markup."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloud.devices.schemas import DeviceSummary, DeviceView, JournalPage, TokenView, Verification
from cloud.keys.schemas import KeyView
from cloud.people.schemas import ApiTokenView, TenantView, UserView
from cloud.tasks.schemas import NodeView, TaskSummary, TaskView

STATE_STYLES = {
    "online": "green",
    "stale": "yellow",
    "lost": "red",
    "succeeded": "green",
    "active": "green",
    "failed": "red",
    "timed_out": "red",
    "rejected": "red",
    "expired": "red",
    "quarantined": "red",
    "revoked": "red",
    "tampered": "red",
    "disabled": "yellow",
    "running": "cyan",
    "waiting": "yellow",
    "cancelled": "yellow",
}
LINE_CHARS = 400
NAME_MAX_CHARS = 60
PIPE_COLUMNS = 240

console = Console(highlight=False, soft_wrap=False)
errors = Console(stderr=True, highlight=False)
"""Progress, and what is said beside the data."""


def as_json(value: BaseModel | Sequence[BaseModel]) -> None:
    """One JSON document on standard output."""
    document: Any = (
        value.model_dump(mode="json")
        if isinstance(value, BaseModel)
        else [item.model_dump(mode="json") for item in value]
    )
    write(json.dumps(document, ensure_ascii=False, indent=2))


def as_json_line(value: BaseModel) -> None:
    write(value.model_dump_json())


def write_json(document: object) -> None:
    """As `as_json`, of plain values."""
    write(json.dumps(document, ensure_ascii=False, indent=2))


def write_json_line(document: object) -> None:
    """As `as_json_line`, of plain values."""
    write(json.dumps(document, ensure_ascii=False))


def write(document: str) -> None:
    """A JSON document, with what a terminal would obey written as escapes."""
    # JSON lets C1 controls and marks of direction stand in strings as they are; escaped they mean the same.
    safe = "".join(_escaped(character) for character in document)
    print(safe, flush=True)  # noqa: T201 - the command's output


def _escaped(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return json.dumps(character)[1:-1]


def table(value: RenderableType) -> None:
    """Fitted to the terminal; in a pipe wide enough that programs like grep see whole cells."""
    out = console if console.is_terminal else Console(highlight=False, width=PIPE_COLUMNS)
    out.print(value)


def line(text: str) -> None:
    console.print(Text(printable(text)))


def note(text: str) -> None:
    """A line beside the data, on standard error."""
    errors.print(Text(printable(text)))


def tokens(rows: Iterable[TokenView]) -> Table:
    table = _table("token", "device", "labels", "expires", "used")
    for row in rows:
        used = "" if row.used_at is None else f"{_when(row.used_at)} by {row.used_by}"
        if row.revoked_at is not None:
            used = f"revoked {_when(row.revoked_at)}"
        device = f"{row.tenant}.{row.device or '(any name)'}"
        _row(table, row.id, device, _labels(row.labels), _when(row.expires_at), used)
    return table


def users(rows: Iterable[UserView]) -> Table:
    table = _table("user", "roles", "signs in by", "state")
    for row in rows:
        roles = ", ".join(f"{role.role} in {role.tenant}" for role in row.roles) or "none"
        ways = [
            ("password", row.has_password),
            ("code", row.has_totp),
            ("provider", row.oidc_subject is not None),
        ]
        state = "disabled" if row.is_disabled else "active"
        if not row.is_sound:
            state = "tampered"
        _row(table, row.name, roles, " + ".join(way for way, has in ways if has) or "nothing", state)
    return table


def tenants(rows: Iterable[TenantView]) -> Table:
    table = _table("tenant", "devices", "people", "since")
    for row in rows:
        _row(table, row.name, str(row.devices), str(row.people), _when(row.created_at))
    return table


def api_tokens(rows: Iterable[ApiTokenView]) -> Table:
    table = _table("token", "label", "role", "made by", "expires", "used", "state")
    for row in rows:
        state = "active" if row.revoked_at is None else "revoked"
        if not row.is_sound:
            state = "tampered"
        used = "never" if row.used_at is None else _when(row.used_at)
        role = f"{row.role} in {row.tenant}"
        _row(table, row.id, row.label, role, row.created_by, _when(row.expires_at), used, state)
    return table


def keys(rows: Iterable[KeyView]) -> Table:
    table = _table("purpose", "number", "key", "state", "since", "until", "private half", "file")
    for row in rows:
        private = "away" if not row.is_private_here else ("here, encrypted" if row.is_encrypted else "here")
        number = "" if row.number is None else str(row.number)
        until = "" if row.until is None else _when(row.until)
        _row(
            table,
            *(
                row.purpose,
                number,
                row.fingerprint[:16],
                row.state,
                _when(row.since),
                until,
                private,
                row.file,
            ),
        )
    return table


def devices(rows: Iterable[DeviceSummary]) -> Table:
    table = _table(
        "device", "presence", "status", "last hello", "last record", "orders waiting", "version", "labels"
    )
    for row in rows:
        presence = row.presence
        _row(
            table,
            row.principal,
            state(presence.state.value),
            state(row.status),
            _when(presence.last_hello_at),
            _when(presence.last_record_at),
            str(row.orders_waiting),
            row.version or "",
            _labels(row.labels),
        )
    return table


def device(view: DeviceView) -> RenderableType:
    presence = view.presence
    facts = Table(box=None, show_header=False, pad_edge=False)
    reason = f" ({view.status_reason})" if view.status_reason else ""
    at_broker = "connected" if presence.broker_online else "away"
    doubt = f"; said to have ended at {_when(presence.died_at)}" if presence.died_at else ""
    for name, value in (
        ("device", view.principal),
        ("status", view.status + reason),
        ("labels", _labels(view.labels)),
        ("version", view.version or "unknown"),
        ("enrolled", _when(view.enrolled_at)),
        ("certificate until", _when(view.certificate_not_after)),
        ("signing key", view.signing_kid),
        ("presence", f"{presence.state.value} as of {_when(presence.as_of)}"),
        ("broker", f"{at_broker} since {_when(presence.broker_at) or 'never seen'}{doubt}"),
        ("last hello", _when(presence.last_hello_at) or "never"),
        ("last acknowledgement", _when(presence.last_ack_at) or "never"),
        ("last record", _when(presence.last_record_at) or "never"),
    ):
        _row(facts, name, value)
    lanes = _table("log", "epoch", "records", "acknowledged", "lag", "state")
    for lane in view.lanes:
        fork = "" if lane.forked_at_seq is None else f"forked at {lane.forked_at_seq}"
        _row(
            lanes,
            lane.lane,
            lane.epoch[:8],
            str(lane.head_seq),
            "" if lane.acked is None else str(lane.acked),
            str(lane.lag),
            fork or lane.phase or "",
        )
    parts: list[RenderableType] = [facts, lanes]
    if view.refusals:
        refusals = _table("refused because", "messages", "last")
        for refusal in view.refusals:
            _row(refusals, refusal.reason, str(refusal.count), _when(refusal.last_at))
        parts.append(refusals)
    if view.dead_letters:
        letters = _table(f"dead letters ({view.dead_letter_count})", "record", "reason", "at")
        for letter in view.dead_letters:
            _row(letters, letter.lane, str(letter.seq), letter.reason, _when(letter.at))
        parts.append(letters)
    return Group(*parts)


def rows(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> Table:
    """A plain table of text."""
    found = _table(*columns)
    for row in cells:
        _row(found, *row)
    return found


def moment(instant: datetime | None) -> str:
    """Local time, to the second; empty for never."""
    return _when(instant)


def tasks(rows: Iterable[TaskSummary]) -> Table:
    table = _table("task", "state", "created", "origin", "goal")
    for row in rows:
        goal = _one_line(row.goal or "(withheld)", 80)
        _row(table, row.id, state(row.state), _when(row.created_at), row.origin, goal)
    return table


def task(view: TaskView) -> RenderableType:
    asked = ", cancel requested" if view.is_cancel_requested and _is_open(view) else ""
    head = Text.assemble(
        (f"task {view.id}", "bold"),
        "  ",
        state(view.state),
        asked,
        f"  from {printable(view.origin)}{_asker(view)}, {_when(view.created_at)}\n",
        printable(view.goal or "(withheld)"),
        *((("\nbears " + ", ".join(view.request_labels), "yellow"),) if view.request_labels else ()),
    )
    table = _table("node", "where", "state", "tries", "tool calls", "result")
    for node in view.nodes:
        where = node.place
        if node.principal and node.place.startswith("any"):
            where = f"{node.place} on {node.principal}"
        _row(
            table,
            str(node.node),
            where,
            _node_state(node),
            str(node.attempt),
            "\n".join(_effects(node)),
            _result(node),
        )
    parts: list[RenderableType] = [head, table]
    if view.late_results:
        late = _table("late results", "node", "state", "result", "at")
        for each in view.late_results:
            _row(late, each.principal, str(each.node), state(each.state), each.result or "", _when(each.at))
        parts.append(late)
    if view.later_answers:
        later = _table("later answers", "node", "answer", "at")
        for answer in view.later_answers:
            told = answer.result or "(withheld)"
            if answer.labels:
                told = f"{told}\n[{', '.join(answer.labels)}]"
            _row(later, answer.principal, str(answer.node), told, _when(answer.at))
        parts.append(later)
    return Group(*parts)


def _asker(view: TaskView) -> str:
    return f" for {printable(view.asker)}" if view.asker else ""


def _result(node: NodeView) -> str:
    if node.result is None:
        return ""
    labels = ["untrusted (labels lost)"] if node.result_labels is None else node.result_labels
    return f"{node.result}\n[{', '.join(labels)}]" if labels else node.result


def journal(page: JournalPage) -> Table:
    table = _table("seq", "at", "kind", "record")
    for record in page.records:
        if record.record is None:
            text = f"not understood: {record.dead_letter}"
        else:
            hidden = ("kind", "at_ms")
            fields = [f"{key}={_brief(value)}" for key, value in record.record.items() if key not in hidden]
            text = _one_line(" ".join(fields), LINE_CHARS)
            if record.dead_letter is not None:
                text = f"not applied: {record.dead_letter}; {text}"
        _row(table, str(record.seq), _when(record.at), record.kind, text)
    return table


def verifications(results: Iterable[Verification]) -> Table:
    table = _table("device", "log", "epoch", "records", "seals", "sealed up to", "outcome")
    for result in results:
        for lane in result.lanes:
            outcome = Text("sound", "green")
            if lane.problem is not None:
                outcome = Text(printable(f"record {lane.broken_at}: {lane.problem}"), "red")
            _row(
                table,
                result.principal,
                lane.lane,
                lane.epoch[:8],
                str(lane.records),
                str(lane.seals),
                str(lane.sealed_upto),
                outcome,
            )
    return table


def state(name: str) -> Text:
    return Text(printable(name), STATE_STYLES.get(name, ""))


def _node_state(node: NodeView) -> Text:
    text = state(node.state)
    if node.reason:
        text.append(printable(f" ({node.reason})"))
    if node.is_cancel_requested and node.state in ("queued", "offered", "running", "waiting"):
        text.append(", cancel requested")
    return text


def _effects(node: NodeView) -> Iterable[str]:
    for effect in node.effects:
        if effect.question == "asked":
            outcome = "did it happen?"
        elif effect.results == 0:
            outcome = "begun"
        else:
            outcome = "ok" if effect.ok else "failed"
        yield f"{effect.call} {effect.tool}: {outcome}"


def _is_open(view: TaskView) -> bool:
    return view.state in ("queued", "offered", "running", "waiting")


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        # What names the row stays in one piece, if the other columns can still be read beside it.
        table.add_column(Text(column), overflow="fold", no_wrap=column == columns[0])
    return table


def _row(table: Table, *cells: str | Text) -> None:
    if len(cells[0]) > NAME_MAX_CHARS:
        table.columns[0].no_wrap = False
    # Text, not str: rich would read square brackets in a device's words as its markup.
    table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in cells))


def printable(text: str) -> str:
    """Without control characters, which a terminal would obey, and those that hide or turn text."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)


def _brief(value: object) -> str:
    """A field of a record: content by the beginning of its hash and its size, foreign causes by lane and sequence."""
    match value:
        case {"hash": str() as hash_, "size": int() as size}:
            return f"{hash_[:8]}…({size} bytes)"
        case {"lane": str() as lane, "epoch": str(), "seq": int() as seq}:
            return f"{lane}#{seq}"
        case list():
            return ",".join(_brief(item) for item in value)
        case dict():
            return "{" + " ".join(f"{key}={_brief(item)}" for key, item in value.items()) + "}"
        case _:
            return str(value)


def _one_line(text: str, max_chars: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= max_chars else flat[: max_chars - 1] + "…"


def _labels(values: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(values.items()))


def _when(instant: datetime | None) -> str:
    return "" if instant is None else instant.astimezone().strftime("%Y-%m-%d %H:%M:%S")
