"""`covey-hub audit …`: who did what, the signed heads, proofs, exports; and, without any hub, verifying an export."""

import json
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cloud.audit.schemas import ConsistencyProof, EntryPage, EntryView, HeadView, InclusionProof
from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.options import AsJson, connection, seconds
from shared.envelope import COSE_SIGN1_TAG
from shared.errors import ConfigError, ProtocolError
from shared.merkle import is_consistent, is_included
from shared.tree_head import TEXT_PREFIX, parse_head_text

if TYPE_CHECKING:
    from cloud.audit.verify import Report
    from cloud.audit.verify_log import Break

app = typer.Typer(help="Who did what at the hub, provably.", no_args_is_help=True)

PAGE_ROWS: Final = 500
HEAD_FILE_MAX_BYTES: Final = 65_536
FINGERPRINT_BYTES: Final = 32
EXIT_UNSOUND: Final = 1
_HEAD: Final = re.compile(re.escape(TEXT_PREFIX) + r"[A-Za-z0-9_-]+")
_BEFORE_NOW: Final = re.compile(r"[0-9]+[smhd]")

Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="From then on: 2026-03-01, 2026-03-01T08:00, or 7d ago as 7d."),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")]
InTenant = Annotated[str | None, typer.Option("--tenant", help="One tenant's only.")]


@app.command()
def log(
    context: typer.Context,
    action: Annotated[
        str | None, typer.Option(help="Such deeds only; `device.` means all about devices.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="By whom.")] = None,
    target: Annotated[str | None, typer.Option(help="To what.")] = None,
    since: Since = None,
    until: Until = None,
    tenant: InTenant = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many, from the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show deeds, newest first."""
    asked = {
        "action": action,
        "actor": actor,
        "target": target,
        "tenant": tenant,
        "since": _moment(since, "--since"),
        "until": _moment(until, "--until"),
    }
    params: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
    found: list[EntryView] = []
    with HubClient(connection(context)) as hub:
        while len(found) < lines:
            page = hub.get(
                EntryPage, "/v1/audit/entries", {**params, "limit": min(PAGE_ROWS, lines - len(found))}
            )
            found += page.entries
            if page.next is None:
                break
            params["before"] = page.next
    if as_json:
        show.as_json(found)
        return
    show.table(
        show.rows(
            ("entry", "at", "who", "from", "did", "to", "more"),
            [
                (
                    str(each.seq),
                    show.moment(each.at),
                    each.actor,
                    each.address or each.means,
                    each.action,
                    each.target if each.tenant is None else f"{each.target} ({each.tenant})",
                    " ".join(f"{key}={value}" for key, value in each.detail.items()),
                )
                for each in found
            ],
        )
    )


@app.command()
def head(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the newest signed head. Keep it elsewhere: it is what `verify --head` compares with."""
    with HubClient(connection(context)) as hub:
        found = hub.get(HeadView, "/v1/audit/head")
    if as_json:
        show.as_json(found)
        return
    show.line(f"{found.size} entries, signed {show.moment(found.at)} with key {found.kid}")
    show.line(f"tree      {found.root}")
    show.line(f"root key  {found.root_key}")
    print(found.head, flush=True)  # noqa: T201  # in one piece, however wide the terminal


@app.command()
def prove(
    context: typer.Context,
    entry: Annotated[int | None, typer.Argument(min=0, help="Number of an entry.")] = None,
    since_size: Annotated[
        int | None, typer.Option("--from", min=1, help="Prove that the log goes on from one of this size.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=1, help="In the log of this size; none: the newest signed head."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a proof and check it: that an entry is in the log, or that the log only grew."""
    if (entry is None) == (since_size is None):
        raise ConfigError("Name an entry, or an old size with --from.")
    with HubClient(connection(context)) as hub:
        if entry is not None:
            params = {} if size is None else {"size": size}
            included = hub.get(InclusionProof, f"/v1/audit/entries/{entry}/proof", params)
            is_proven = _includes(included)
            sentence = f"Entry {included.seq} is in the log of {included.size} entries under {included.root}."
            proof: InclusionProof | ConsistencyProof = included
        else:
            params = {"old": since_size or 0, **({} if size is None else {"new": size})}
            grown = hub.get(ConsistencyProof, "/v1/audit/consistency", params)
            is_proven = _agrees(grown)
            sentence = (
                f"The log of {grown.new} entries begins with that of {grown.old} under {grown.old_root}."
            )
            proof = grown
    if not is_proven:
        raise ProtocolError(
            "The hub's proof does not prove it; export the log and verify it.", code="not_proven"
        )
    if as_json:
        show.as_json(proof)
    else:
        show.line(sentence)
        for each in proof.path:
            show.line(f"  {each}")


@app.command()
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to.")],
    since: Since = None,
    until: Until = None,
    tenant: InTenant = None,
    journals: Annotated[bool, typer.Option("--journals", help="With the devices' logs.")] = False,
    replaces: Annotated[
        bool, typer.Option("--replace", help="In place of a file that is there, once all is written.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the log into one file that can be verified without the hub."""
    asked = {
        "tenant": tenant,
        "since": _moment(since, "--since"),
        "until": _moment(until, "--until"),
        "journals": "true" if journals else None,
    }
    params = {key: value for key, value in asked.items() if value is not None}
    with HubClient(connection(context)) as hub:
        size = _write(hub, params, file, replaces=replaces)
    if as_json:
        print(json.dumps({"file": str(file), "bytes": size}), flush=True)  # noqa: T201
    else:
        show.line(f"{file}: {size:,} bytes. Verify it with: covey-hub audit verify {file} --head HEAD")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="What `audit export` wrote.")],
    kept: Annotated[
        str | None,
        typer.Option("--head", metavar="H", help="A signed head that you kept: as text, or a file with it."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="FINGERPRINT", help="SHA-256 of the hub's root key.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify an export. It needs no hub. Exit code 1 if anything was altered, removed, put in, moved or cut off."""
    from cloud.audit.verify import verify as judge

    head_bytes = None if kept is None else _kept_head(kept)
    pinned = None if key is None else _fingerprint(key)
    try:
        with file.open("rb") as opened:
            report = judge(opened, kept=head_bytes, pinned=pinned)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}).") from error
    if as_json:
        document = asdict(report) | {"is_sound": report.is_sound}
        print(json.dumps(document, default=datetime.isoformat, indent=2), flush=True)  # noqa: T201
    else:
        _tell(report)
    if not report.is_sound:
        raise typer.Exit(EXIT_UNSOUND)


def _tell(report: "Report") -> None:
    if report.problem is not None:
        show.line(f"NOT SOUND: {report.problem}")
        return
    for each in report.breaks:
        _tell_break(each)
    show.line(
        f"{'Sound' if report.is_sound else 'Sound but for that'}: {report.entries + report.withheld} entries"
        f" ({report.withheld} as hashes), {report.heads} signed heads, the newest over {report.signed_size}."
    )
    if report.devices:
        show.line(
            f"{report.devices} devices, {report.lanes} logs, {report.records} records, {report.seals} seals;"
            f" {report.checkpoints} positions as the audit log vouches for ({report.trimmed} trimmed since);"
            f" {report.missing} records never came and are recorded as gaps."
        )
    show.line(f"The hub's root key: {report.root_key}")
    for limit in report.limits:
        show.line(f"Note: {limit}")


def _tell_break(each: "Break") -> None:
    begin = "BROKEN, as the head that you kept knows" if each.is_known else "BROKEN"
    show.line(
        f"{begin}: entries {each.since} to {each.entry - 1} may have been put in or altered."
        f" {each.by} ({each.address or 'at the hub'}) accepted that on {show.moment(each.at)}, in entry {each.entry}:"
        f" {each.reason}"
    )
    show.line(f"  What was wrong then: {each.shows}")


def _write(hub: HubClient, params: dict[str, str], file: Path, *, replaces: bool) -> int:
    """Write beside the file and put it in its place when all is there. Returns its size in bytes.

    Raises `ConfigError` for a file that is there, unless it may be replaced: it may be the only proof of what was.
    """
    if not replaces:
        _check_free(file)
    console = Console(stderr=True)
    columns = (TextColumn("exporting"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        temporary = Path(name)
        try:
            with (
                os.fdopen(descriptor, "wb") as opened,
                Progress(
                    *columns, console=console, transient=True, disable=not console.is_terminal
                ) as progress,
            ):
                task = progress.add_task("exporting", total=None)
                for piece in hub.download("/v1/audit/export", params):
                    opened.write(piece)
                    progress.advance(task, len(piece))
                opened.flush()
                os.fsync(opened.fileno())
                size = opened.tell()
            if not replaces:
                _check_free(file)  # somebody else may have exported meanwhile
            temporary.replace(file)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error.strerror}); choose another place.") from error
    return size


def _check_free(file: Path) -> None:
    if os.path.lexists(file):
        raise ConfigError(
            f"{file} is there already, and an export may be the only proof of what was: name another file, or say"
            " --replace."
        )


def _kept_head(said: str) -> bytes:
    """An envelope, from its text, or from a file with the text, what `audit head` printed, its JSON, or the bytes."""
    if said.startswith(TEXT_PREFIX):
        return parse_head_text(said)
    try:
        with Path(said).open("rb") as opened:
            data = opened.read(HEAD_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"--head {said} is neither a head ({TEXT_PREFIX}…) nor a file that can be read ({error.strerror})."
        ) from error
    if data[:1] == bytes([COSE_SIGN1_TAG]):
        return data
    found = _HEAD.search(data.decode("utf-8", errors="replace"))
    if found is None or len(data) > HEAD_FILE_MAX_BYTES:
        raise ConfigError(f"There is no head in {said}; keep what `covey-hub audit head` prints.")
    return parse_head_text(found[0])


def _fingerprint(text: str) -> bytes:
    digits = text.removeprefix("sha256:").replace(":", "")
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        found = b""
    if len(found) != FINGERPRINT_BYTES:
        raise ConfigError("--key is a SHA-256: 64 hexadecimal digits, as `covey-hub audit head` prints it.")
    return found


def _moment(text: str | None, option: str) -> str | None:
    """A time with its zone (local unless it says one). Raises `ConfigError`."""
    if text is None:
        return None
    try:
        if _BEFORE_NOW.fullmatch(text):
            return (datetime.now(UTC) - timedelta(seconds=seconds(text, option))).isoformat()
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{option} {text} is no time like 2026-03-01, 2026-03-01T08:00+01:00 or 7d."
        ) from error


def _includes(proof: InclusionProof) -> bool:
    try:
        return is_included(
            index=proof.seq,
            size=proof.size,
            hashed_leaf=bytes.fromhex(proof.leaf_hash),
            path=[bytes.fromhex(each) for each in proof.path],
            root=bytes.fromhex(proof.root),
        )
    except ValueError:
        return False


def _agrees(proof: ConsistencyProof) -> bool:
    try:
        return is_consistent(
            old=proof.old,
            new=proof.new,
            old_root=bytes.fromhex(proof.old_root),
            new_root=bytes.fromhex(proof.new_root),
            path=[bytes.fromhex(each) for each in proof.path],
        )
    except ValueError:
        return False
