"""`covey-hub policy …`: rules for agents, from a folder to a signed bundle that devices enforce.

`check`, `compile`, `test` and `try` need no hub. A file with a line and a sentence for every error; exit code 1 when
something was found wrong, 0 when not.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.devices import device_path
from cloud.cli.options import AsJson, connection
from cloud.governance.schemas import (
    WAVES,
    ApprovalView,
    DutiesView,
    ExplanationView,
    FindingView,
    HaltView,
    PublishPolicy,
    ReleaseView,
    SetDuty,
    SimulatePolicy,
    SimulationView,
    StopDevices,
    Stopped,
    VoteOn,
)
from cloud.policy.compiler import Compiled, compile_package
from cloud.policy.history import DeviceLine, Outcome, Replay, facts, parse_lines, told
from cloud.policy.lint import lint
from cloud.policy.package_tests import TestResult, run_tests
from cloud.policy.problems import PackageError, Problem
from cloud.policy.sources import Sources, read_folder
from shared.errors import ConfigError
from shared.ids import HUB
from shared.keys import Purpose, Signer, TrustedKey
from shared.policy.bundle import SEALED_MAX_BYTES, pack, sign, signers_of, unpack
from shared.policy.decisions import code_of
from shared.policy.monitor import Monitor, monitor_of

app = typer.Typer(
    help="Write, try, sign and publish the rules that devices enforce.",
    no_args_is_help=True,
)

EXIT_WRONG: Final = 1
PackageFolder = Annotated[Path, typer.Argument(help="The package: a folder with package.yaml and *.cedar.")]


@app.command("check")
def check(package: PackageFolder, as_json: AsJson = False) -> None:
    """Compile, look for what does nothing or guards nothing, and run tests.yaml."""
    sources = read_folder(package)
    compiled, problems = _compiled(sources)
    results: list[TestResult] = []
    if compiled is not None:
        problems += lint(compiled.package, compiled.rules, sources)
        try:
            results = list(run_tests(sources.tests, compiled.package, _monitor_maker(compiled)))
        except PackageError as error:
            problems += error.problems
    failed = [result for result in results if result.failures]
    is_wrong = bool(failed) or any(problem.severity == "error" for problem in problems)
    if as_json:
        show.write_json({
            "package": None if compiled is None else compiled.package.name,
            "version": None if compiled is None else compiled.package.version,
            "hash": None if compiled is None else compiled.bundle.hash.hex(),
            "ok": not is_wrong,
            "problems": [_problem_fields(problem) for problem in problems],
            "tests": [
                {"name": result.name, "line": result.line, "calls": result.calls, "failures": list(result.failures)}
                for result in results
            ],
        })  # fmt: skip
    else:
        for problem in problems:
            _say(show.printable(str(problem)))
        for result in failed:
            for failure in result.failures:
                _say(show.printable(f"{failure} ({result.name})"))
        if compiled is not None:
            count = len(compiled.rules)
            _say(
                f"{compiled.package.name} version {compiled.package.version}: {count} rule{'s' * (count != 1)},"
                f" {len(compiled.package.tools)} tools, {len(results) - len(failed)} of {len(results)} tests passed,"
                f" hash {compiled.bundle.hash.hex()[:16]}."
            )
    if is_wrong:
        raise typer.Exit(EXIT_WRONG)


@app.command("compile")
def compile_(
    package: PackageFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the bundle goes (PACKAGE.bundle).")] = Path(
        "-"
    ),
    as_json: AsJson = False,
) -> None:
    """Compile to a bundle that nobody has signed yet."""
    compiled, problems = _compiled(read_folder(package))
    if compiled is None:
        for problem in problems:
            _complain(show.printable(str(problem)))
        raise typer.Exit(EXIT_WRONG)
    target = Path(f"{compiled.package.name}.bundle") if out == Path("-") else out
    _write(target, pack(compiled.bundle))
    fields = {
        "package": compiled.package.name,
        "version": compiled.package.version,
        "hash": compiled.bundle.hash.hex(),
        "file": str(target),
        "bytes": target.stat().st_size,
    }
    if as_json:
        show.write_json(fields)
    else:
        _say(f"{target}: {fields['package']} version {fields['version']}, hash {fields['hash']}, unsigned.")


@app.command("try")
def try_(
    package: PackageFolder,
    history: Annotated[
        Path, typer.Option("--history", help="JSON lines: a conversation with its calls; - reads it.")
    ],
    device: Annotated[str, typer.Option(help="The device's name, for rules that name one.")] = "device-1",
    site: Annotated[str, typer.Option(help="Its site.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="Its labels; may be given more than once.")] = None,
    denied_only: Annotated[
        bool, typer.Option("--denied", help="Show only what was not simply allowed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run any conversation through labels and rules, and print each decision with its reason. Needs no device."""
    compiled, problems = _compiled(read_folder(package))
    if compiled is None:
        for problem in problems:
            _complain(show.printable(str(problem)))
        raise typer.Exit(EXIT_WRONG)
    here = facts(DeviceLine(name=device, site=site, labels=tuple(label or ())))
    replay = Replay(compiled.package, monitor_of(compiled.bundle, here), device=here)
    tally: dict[str, int] = {}
    is_as_expected = True
    for outcome in replay.run(parse_lines(_lines(history))):
        code = code_of(outcome.decision)
        tally[code] = tally.get(code, 0) + 1
        is_as_expected &= outcome.failure is None
        if denied_only and code == "allow" and outcome.failure is None:
            continue
        if as_json:
            show.write_json_line(_outcome_fields(outcome))
        else:
            _show_outcome(outcome)
    if not as_json:
        counted = ", ".join(f"{count} {code}" for code, count in sorted(tally.items())) or "no calls"
        _say(f"{sum(tally.values())} decisions: {counted}.")
    if not is_as_expected:
        raise typer.Exit(EXIT_WRONG)


@app.command("sign")
def sign_(
    bundle: Annotated[Path, typer.Argument(help="The bundle; the signature is added to it.")],
    key: Annotated[
        Path, typer.Option("--key", help="Your signing key (PEM, Ed25519), made where it is missing.")
    ],
    as_json: AsJson = False,
) -> None:
    """Put your name under a bundle. Devices that list your public key in `policy_signers` count it."""
    content, signatures = unpack(_bytes(bundle))
    signer = _signer(key)
    kept = [raw for raw in signatures if not signers_of(content, [raw], [_public(signer)])]
    _write(bundle, pack(content, [*kept, sign(content, signer)]))
    fields = {
        "file": str(bundle),
        "hash": content.hash.hex(),
        "public_key": signer.public.hex(),
        "signatures": len(kept) + 1,
    }
    if as_json:
        show.write_json(fields)
    else:
        _say(
            f"{bundle}: {len(kept) + 1} signature{'s' * (len(kept) > 0)}; your public key is {fields['public_key']}."
        )


@app.command("publish")
def publish(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="The bundle; the hub adds its own signature.")],
    wave: Annotated[
        list[int] | None, typer.Option("--wave", help="Shares in percent, rising to 100 (5, 25 and 100).")
    ] = None,
    soak: Annotated[int, typer.Option(help="Seconds that each wave is watched.", min=0)] = 600,
    tenant: Annotated[str | None, typer.Option(help="Of another tenant than the hub's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a bundle to the fleet in waves. It stops by itself when a device refuses it or denials jump."""
    body = PublishPolicy(bundle=_bytes(bundle), waves=wave or list(WAVES), soak_s=soak, tenant=tenant)
    with HubClient(connection(context)) as hub:
        view = hub.post(ReleaseView, "/v1/policies", body)
    _show_releases([view], as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Of one tenant.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was published, and how far it is."""
    with HubClient(connection(context)) as hub:
        views = hub.get_list(
            ReleaseView, "/v1/policies" if tenant is None else f"/v1/policies?tenant={quote(tenant)}"
        )
    if as_json:
        show.as_json(views)
    else:
        _show_releases(views, as_json=False)


@app.command("stop")
def stop(
    context: typer.Context,
    release: Annotated[str, typer.Argument(help="Its id, as `policy list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Give a release to no further device. Those that run it go on; publish a newer version to change them."""
    with HubClient(connection(context)) as hub:
        view = hub.post(ReleaseView, f"/v1/policies/{quote(release, safe='')}/stop")
    _show_releases([view], as_json=as_json)


@app.command("simulate")
def simulate(
    context: typer.Context,
    package: PackageFolder,
    since: Annotated[str, typer.Option(help="How far back: 90m, 12h, 7d.")] = "7d",
    tenant: Annotated[str | None, typer.Option(help="Of another tenant than the hub's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which decisions of the fleet would be others under this package, by tool and rule, before anyone signs."""
    compiled, problems = _compiled(read_folder(package))
    if compiled is None:
        for problem in problems:
            _complain(show.printable(str(problem)))
        raise typer.Exit(EXIT_WRONG)
    body = SimulatePolicy(bundle=pack(compiled.bundle), since_s=_seconds(since), tenant=tenant)
    with HubClient(connection(context)) as hub:
        view = hub.post(SimulationView, "/v1/policies/simulate", body)
    if as_json:
        show.as_json(view)
        return
    _say(
        f"{view.decisions} decisions of {view.devices} devices since {show.moment(view.since)}:"
        f" {view.flipped} would be others; of {view.unknown} the content is not at the hub."
    )
    cells = [
        (
            str(flip.count),
            flip.tool,
            f"{flip.was}" + (f" by {flip.was_rule}" if flip.was_rule else ""),
            f"{flip.would}" + (f" by {flip.rule}" if flip.rule else ""),
            ", ".join(f"{each.principal} {each.seq}" for each in flip.examples[:2]),
        )
        for flip in view.flips
    ]
    if cells:
        show.table(show.rows(("times", "tool", "was", "would be", "for instance"), cells))


@app.command("explain")
def explain(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help="NAME, or TENANT.NAME.")],
    seq: Annotated[int, typer.Argument(help="The decision's number in the device's journal.", min=1)],
    epoch: Annotated[
        str | None, typer.Option(help="The beginning of the log's epoch, if it has several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw why one decision fell, as the chain of its causes."""
    query = "" if epoch is None else f"?epoch={quote(epoch, safe='')}"
    with HubClient(connection(context)) as hub:
        view = hub.get(ExplanationView, f"{device_path(device)}/decisions/{seq}{query}")
    if as_json:
        show.as_json(view)
        return
    rules = ", ".join(view.rules) or "no rule"
    _say(show.printable(f"{view.decision} {view.action} {json.dumps(view.arguments, ensure_ascii=False)}"))
    _say(f"by {rules}, version {view.version or 'baseline'}, {show.moment(view.at)}")
    if isinstance(view.told, dict):
        _say(show.printable(f"told: {view.told.get('denied', '')} {view.told.get('hint', '')}".rstrip()))
    _say(f"labels: {', '.join(view.labels) or 'none'}")
    for cause in view.causes:
        brings = f"  <- {', '.join(cause.brings)} comes from here" if cause.brings else ""
        what = f"{cause.kind}{'' if cause.tool is None else ' ' + cause.tool}"
        indent = "  " * min(cause.depth, 20)
        _say(show.printable(f"{indent}{cause.lane} {cause.seq}  {what}{brings}"))
        if cause.shows:
            _say(show.printable(f"{indent}    {cause.shows[:100]}"))


@app.command("findings")
def findings(context: typer.Context, as_json: AsJson = False) -> None:
    """What the detectors on devices said, newest first."""
    with HubClient(connection(context)) as hub:
        views = hub.get_list(FindingView, "/v1/findings")
    if as_json:
        show.as_json(views)
        return
    cells = [
        (
            show.moment(view.at),
            view.principal,
            view.detector,
            view.severity,
            view.consequence,
            view.task or "",
        )
        for view in views
    ]
    show.table(show.rows(("at", "device", "detector", "severity", "then", "task"), cells))


approvals = typer.Typer(
    help="What agents want to do and people have to agree to first.", no_args_is_help=True
)


@approvals.command("list")
def list_approvals(
    context: typer.Context,
    ended: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: AsJson = False,
) -> None:
    """What waits for people, with the arguments that are to be agreed to."""
    with HubClient(connection(context)) as hub:
        views = hub.get_list(ApprovalView, "/v1/approvals?ended=true" if ended else "/v1/approvals")
    if as_json:
        show.as_json(views)
        return
    cells = [
        (
            view.nonce,
            view.principal,
            f"{view.tool} {json.dumps(view.arguments, ensure_ascii=False)}",
            ", ".join(role for role in view.roles if role not in view.votes),
            view.state,
            show.moment(view.expires_at),
        )
        for view in views
    ]
    show.table(show.rows(("number", "device", "what", "needs", "state", "until"), cells))


@approvals.command("answer")
def answer(
    context: typer.Context,
    nonce: Annotated[str, typer.Argument(help="As `approval list` shows it.")],
    word: Annotated[str, typer.Argument(metavar="yes|no", help="yes or no")],
    role: Annotated[str | None, typer.Option(help="In which of your roles.")] = None,
    as_json: AsJson = False,
) -> None:
    """Agree to one call with these very arguments, once; or refuse it."""
    if word not in ("yes", "no"):
        raise typer.BadParameter("it is yes or no", param_hint="yes|no")
    body = VoteOn(granted=word == "yes", role=role)
    with HubClient(connection(context)) as hub:
        view = hub.post(ApprovalView, f"/v1/approvals/{quote(nonce, safe='')}", body)
    if as_json:
        show.as_json(view)
    else:
        _say(show.printable(f"{word} to {view.tool} on {view.principal}; it decides when it hears of it."))


@approvals.command("role")
def role_(
    context: typer.Context,
    person: Annotated[str, typer.Argument(help="A user's name.")],
    role: Annotated[str, typer.Argument(help="The role, as rules name it: supervisor, shift-lead.")],
    take: Annotated[bool, typer.Option("--take", help="Take it from them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give somebody a role in which they may agree, or take it."""
    with HubClient(connection(context)) as hub:
        view = hub.post(DutiesView, "/v1/duties", SetDuty(person=person, role=role, granted=not take))
    if as_json:
        show.as_json(view)
    else:
        held = ", ".join(duty.role for duty in view.duties) or "no role"
        _say(show.printable(f"{person} has {held}."))


def stop_devices(
    context: typer.Context,
    device: Annotated[str | None, typer.Argument(help="NAME, or TENANT.NAME.")] = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="All devices of the tenant.")] = False,
    site: Annotated[str | None, typer.Option(help="Those with label site=….")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a device, a site or the whole fleet stand still, signed, as soon as they hear it."""
    _stop(context, device, fleet, site, is_stopped=True, as_json=as_json)


def resume_devices(
    context: typer.Context,
    device: Annotated[str | None, typer.Argument(help="NAME, or TENANT.NAME.")] = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="All devices of the tenant.")] = False,
    site: Annotated[str | None, typer.Option(help="Those with label site=….")] = None,
    as_json: AsJson = False,
) -> None:
    """Let go on what the hub has stopped."""
    _stop(context, device, fleet, site, is_stopped=False, as_json=as_json)


def list_stops(context: typer.Context, as_json: AsJson = False) -> None:
    """Devices that stand still or shall: by whose word, and whether they have heard it."""
    with HubClient(connection(context)) as hub:
        views = hub.get_list(HaltView, "/v1/stops")
    if as_json:
        show.as_json(views)
        return
    cells = [
        (
            view.principal,
            "yes" if view.ordered else "no",
            "yes" if view.held_by_hub else "no",
            "yes" if view.held_locally else "no",
            view.ordered_by,
            "" if view.ordered_at is None else show.moment(view.ordered_at),
        )
        for view in views
    ]
    show.table(show.rows(("device", "ordered", "has heard", "held on site", "by", "at"), cells))


def add_to(devices: typer.Typer) -> None:
    """Put the stops among the commands of devices."""
    devices.command("stops")(list_stops)
    devices.command("stop")(stop_devices)
    devices.command("resume")(resume_devices)


def _stop(
    context: typer.Context,
    device: str | None,
    fleet: bool,
    site: str | None,
    *,
    is_stopped: bool,
    as_json: bool,
) -> None:
    if (device is not None) + fleet + (site is not None) != 1:
        raise typer.BadParameter("name a device, or say --fleet or --site")
    body = StopDevices(stopped=is_stopped, device=device, site=site)
    with HubClient(connection(context)) as hub:
        view = hub.post(Stopped, "/v1/stops", body)
    if as_json:
        show.as_json(view)
    else:
        who = "1 device is" if view.devices == 1 else f"{view.devices} devices are"
        what = "told to stand still" if is_stopped else "told to go on"
        _say(f"{who} {what}; `covey-hub device stops` shows who has heard.")


def _seconds(text: str) -> int:
    units = {"m": 60, "h": 3_600, "d": 86_400}
    if not (text[:-1].isdecimal() and text[-1:] in units):
        raise typer.BadParameter("it is like 90m, 12h or 7d", param_hint="--since")
    return int(text[:-1]) * units[text[-1]]


def _show_releases(views: list[ReleaseView], *, as_json: bool) -> None:
    if as_json:
        show.as_json(views[0])
        return
    cells = [
        (
            view.id,
            view.package,
            str(view.version),
            view.state + (f" ({view.reason})" if view.reason else ""),
            f"{view.waves[view.wave]} %",
            f"{view.running}/{view.devices}",
            str(view.refused),
            "" if view.denied_share is None else f"{view.denied_share:.1%} of {view.decided}",
        )
        for view in views
    ]
    show.table(
        show.rows(("id", "package", "version", "state", "wave", "running", "refused", "denied"), cells)
    )


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > SEALED_MAX_BYTES:
        raise ConfigError(f"{path} is larger than a bundle may be ({SEALED_MAX_BYTES} bytes).")
    return data


def _signer(path: Path) -> Signer:
    """The key in the file. Raises `ConfigError` if it is no Ed25519 key, or readable by others."""
    if not path.exists():
        private = Ed25519PrivateKey.generate()
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(pem)
        return Signer(private)
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"Others may read {path}; say `chmod 600 {path}` first.")
    try:
        loaded = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} holds no signing key that can be read.") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds no Ed25519 key.")
    return Signer(loaded)


def _public(signer: Signer) -> TrustedKey:
    return TrustedKey(owner=HUB, public=signer.public, purpose=Purpose.POLICY)


def _say(text: str) -> None:
    print(text)  # noqa: T201  # the command's output


def _complain(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


def _compiled(sources: Sources) -> tuple[Compiled | None, list[Problem]]:
    try:
        return compile_package(sources), []
    except PackageError as error:
        return None, list(error.problems)


def _monitor_maker(compiled: Compiled) -> Callable[[], Monitor]:
    monitor = monitor_of(compiled.bundle, facts(DeviceLine()))
    return lambda: monitor


def _lines(path: Path) -> Iterator[bytes]:
    if str(path) == "-":
        yield from sys.stdin.buffer
        return
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error


def _problem_fields(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "suggestion": problem.suggestion,
    }


def _outcome_fields(outcome: Outcome) -> dict[str, Any]:
    rule, sentence, hint = told(outcome.decision)
    fields: dict[str, Any] = {
        "line": outcome.line,
        "task": outcome.task,
        "tool": outcome.tool,
        "arguments": outcome.arguments,
        "decision": code_of(outcome.decision),
        "rule": rule,
        "reason": sentence,
        "hint": hint,
        "labels": list(outcome.labels),
        "again": outcome.is_again,
    }
    call = getattr(outcome.decision, "call", None)
    if call is not None:
        fields["executes"] = call.values()
    for name in ("roles", "redactions"):
        if hasattr(outcome.decision, name):
            fields[name] = list(getattr(outcome.decision, name))
    if outcome.expect is not None:
        fields["as_expected"] = outcome.failure is None
    return fields


_MARKS: Final = {"allow": "allow ", "deny": "deny  ", "needs_approval": "ask   ", "transform": "redact"}


def _show_outcome(outcome: Outcome) -> None:
    rule, sentence, hint = told(outcome.decision)
    shown = show.printable(_brief(outcome.arguments))
    labels = f" [{', '.join(outcome.labels)}]" if outcome.labels else ""
    mark = _MARKS[code_of(outcome.decision)]
    again = " (asked again)" if outcome.is_again else ""
    _say(f"{outcome.line:>5}  {mark}  {show.printable(outcome.tool)}{shown}{labels}{again}")
    why = " ".join(part for part in (f"by {rule}." if rule else "", sentence, hint) if part)
    if why:
        _say(show.printable(f"               {why}"))
    if outcome.failure is not None:
        _say(show.printable(f"               not as expected: {outcome.failure}"))


def _brief(arguments: Any, limit: int = 80) -> str:  # JSON values
    text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"({text[:limit]}…)" if len(text) > limit else f"({text})"
