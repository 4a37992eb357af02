"""`covey-hub policy check|compile|try|sign`: a package of rules, from a folder to a signed bundle. Needs no hub.

A file with a line and a sentence for every error; exit code 1 when something was found wrong, 0 when not.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cloud.cli import show
from cloud.cli.options import AsJson
from cloud.policy.compiler import Compiled, compile_package
from cloud.policy.history import Outcome, Replay, facts, told
from cloud.policy.lines import LINE_MAX_BYTES, DeviceLine, parse_lines
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

EXIT_WRONG: Final = 1
PackageFolder = Annotated[Path, typer.Argument(help="The package: a folder with package.yaml and *.cedar.")]


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
            complain(show.printable(str(problem)))
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
            complain(show.printable(str(problem)))
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


def sign_(
    bundle: Annotated[Path, typer.Argument(help="The bundle; the signature is added to it.")],
    key: Annotated[
        Path, typer.Option("--key", help="Your signing key (PEM, Ed25519), made where it is missing.")
    ],
    as_json: AsJson = False,
) -> None:
    """Put your name under a bundle. Devices that list your public key in `policy_signers` count it."""
    content, signatures = unpack(read_bundle(bundle))
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


def add_to(app: typer.Typer) -> None:
    """Put the commands where people look for them."""
    app.command("check")(check)
    app.command("compile")(compile_)
    app.command("try")(try_)
    app.command("sign")(sign_)


def compiled_or_exit(package: Path) -> Compiled:
    """The package; what is wrong with it is told, and ends the command."""
    compiled, problems = _compiled(read_folder(package))
    if compiled is None:
        for problem in problems:
            complain(show.printable(str(problem)))
        raise typer.Exit(EXIT_WRONG)
    return compiled


def read_bundle(path: Path) -> bytes:
    """Raises `ConfigError` for a file that cannot be read or is too large for one."""
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


def complain(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


def _say(text: str) -> None:
    print(text)  # noqa: T201  # the command's output


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
        yield from _bounded(sys.stdin.buffer)
        return
    try:
        with path.open("rb") as file:
            yield from _bounded(file)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error


def _bounded(file: IO[bytes]) -> Iterator[bytes]:
    """Lines, each read no further than it takes to see that it is too long."""
    while line := file.readline(LINE_MAX_BYTES + 1):
        yield line


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
        "arguments": _finite(outcome.arguments),
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
    labels = f" [{', '.join(outcome.labels)}]" if outcome.labels else ""
    mark = _MARKS[code_of(outcome.decision)]
    again = " (asked again)" if outcome.is_again else ""
    said = f"{outcome.tool}{_brief(outcome.arguments)}{labels}{again}".replace("\n", " ")
    _say(f"{outcome.line:>5}  {mark}  {show.printable(said)}")
    why = " ".join(part for part in (f"by {rule}." if rule else "", sentence, hint) if part)
    if why:
        _say(show.printable(f"               {why}"))
    if outcome.failure is not None:
        _say(show.printable(f"               not as expected: {outcome.failure}"))


def _finite(value: Any) -> Any:  # JSON values, as the history says them
    """Without NaN and infinities, which are no JSON."""
    match value:
        case dict():
            return {name: _finite(item) for name, item in value.items()}
        case list():
            return [_finite(item) for item in value]
        case float() if not math.isfinite(value):
            return str(value)
    return value


def _brief(arguments: Any, limit: int = 80) -> str:  # JSON values
    text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"({text[:limit]}…)" if len(text) > limit else f"({text})"
