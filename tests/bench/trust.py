"""`./run bench trust`: what identity and proof cost: letting devices in, judging messages, verifying logs, cutting off.

* **Enrolments a second**: `covey-hub up` as a process with its HTTPS door; several clients at once, each request with
  a token, a CSR and a proof of its own, made beforehand. What is timed is the hub: tokens spent, CSRs and proofs
  verified, certificates signed, devices committed at synchronous=FULL and noted in the audit log. The door's rates for
  strangers are set out of the way.
* **Gate checks a second**: `shared.gate.admit` over batches of a busy device's records as they travel, each in its
  place in a session: size, shape, key, signature, replay, payload. Beside it bare Ed25519 over the same bytes.
* **Audit records a second**: an export with so many devices' records, made from a database by the hub's own code, and
  verified offline: decompressed, each hash chain, each device's seals, the tree, heads, and what the log vouches for.
  Beside it the least that reading such a file takes: decompressing it, and one SHA-256 over its bytes.
* **Revoke to cut**: from starting `covey-hub device revoke` until the device's connection at the hub's Mosquitto has
  ended, which the device's own client notices; and the same from the HTTPS request on, without starting a program.

A figure is void unless every enrolment is answered with a certificate, every message admitted, and the export sound.
"""

import hashlib
import random
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import httpx
import zstandard
from rich.progress import Progress

from cloud.audit.verify import verify
from shared.enrolment import ENROL_PATH, Token
from shared.envelope import signing_input, unwrap
from shared.gate import Accepted, Expected, Session, admit
from shared.ids import HUB
from shared.keys import KeyRing, TrustedKey
from shared.messages import Batch
from shared.records import encode_record
from tests.bench.audit_file import write_export
from tests.bench.records import journal_records
from tests.bench.report import Figure, Outcome, figure
from tests.cloud.hub_api import enrol_request
from tests.support.device import ScriptedDevice, bytes_from, signer_from
from tests.support.process import ProcessFailedError
from tests.support.raw_device import RawDevice
from tests.support.real_hub import PROGRAM, ROOT, SETTINGS, RealHub

RECORDS: Final = 1_000_000
RUNS: Final = 5
ENROLMENTS: Final = 200
CLIENTS: Final = 4
MESSAGES: Final = 2_000
MESSAGE_RECORDS: Final = 20
START_MS: Final = 1_767_225_600_000
CUT_TIMEOUT_S: Final = 60.0
OPEN_DOOR: Final = {"http_open_rate_per_s": 100_000.0, "http_open_burst_requests": 1_000_000}
COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured, each `runs` times."""

    records: int
    runs: int
    enrolments: int = ENROLMENTS
    messages: int = MESSAGES


@dataclass(slots=True)
class _Measured:
    """What the runs gave so far."""

    enrolments: list[float] = field(default_factory=list)
    gate: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    audit: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    cut: list[float] = field(default_factory=list)
    cut_api: list[float] = field(default_factory=list)


def run(directory: Path, open_: ExitStack, records: int, runs: int) -> Outcome:
    return measure(directory, open_, Sizes(records=records, runs=runs))


def measure(directory: Path, open_: ExitStack, sizes: Sizes) -> Outcome:
    got = _Measured()
    rng = random.Random(sizes.records)
    with Progress() as progress:
        steps = progress.add_task("an export to verify", total=4)
        file = directory / "audit.covey"
        size = write_export(directory, file, records=sizes.records, rng=rng)
        for _ in range(sizes.runs):
            got.audit.append(_verified(file, sizes.records))
            got.plain.append(_plainly_read(file, sizes.records))
        progress.update(steps, description="messages at the gate", advance=1)
        _measure_gate(sizes, got, rng)
        progress.update(steps, description="enrolments", advance=1)
        hub = open_.enter_context(
            RealHub(directory / "hub", settings={**SETTINGS, **OPEN_DOOR}, log_level="warning")
        )
        for number in range(sizes.runs):
            got.enrolments.append(_enrolled(hub, sizes.enrolments, number))
        progress.update(steps, description="revocations", advance=1)
        for number in range(sizes.runs):
            got.cut.append(_cut_by_command(hub, directory, f"cut-{number}"))
            got.cut_api.append(_cut_by_request(hub, directory, f"cut-api-{number}"))
        progress.update(steps, advance=1)
    return _outcome(sizes, got, file_bytes=size)


# --- verifying an export ---------------------------------------------------------------------------------------------


def _verified(file: Path, records: int) -> float:
    began = time.perf_counter()
    with file.open("rb") as opened:
        report = verify(opened)
    elapsed = time.perf_counter() - began
    if report.problem is not None or report.records != records:
        raise ProcessFailedError(f"the export is not sound ({report.problem}): the figure is void")
    return records / elapsed


def _plainly_read(file: Path, records: int) -> float:
    began = time.perf_counter()
    total = hashlib.sha256()
    with file.open("rb") as opened, zstandard.ZstdDecompressor().stream_reader(opened) as stream:
        while piece := stream.read(COPY_BYTES):
            total.update(piece)
    total.digest()
    return records / (time.perf_counter() - began)


# --- the gate --------------------------------------------------------------------------------------------------------


def _measure_gate(sizes: Sizes, got: _Measured, rng: random.Random) -> None:
    hub = signer_from("hub")
    device = ScriptedDevice("main.bench", hub=hub)
    device.session = bytes_from("session")
    for record in journal_records(MESSAGE_RECORDS, first_seq=1, at_ms=START_MS, rng=rng):
        device.journal.append_bytes(encode_record(record))
    batch = device.batch_of(device.journal, last=MESSAGE_RECORDS)
    messages = [device.close(batch) for _ in range(sizes.messages)]
    key = TrustedKey(owner=device.principal, public=device.signer.public)
    for _ in range(sizes.runs):
        got.gate.append(_admitted(messages, device, key))
        got.bare.append(_only_verified(messages, key))


def _admitted(messages: Sequence[bytes], device: ScriptedDevice, key: TrustedKey) -> float:
    assert device.session is not None
    trust = KeyRing((key,))
    expected = Expected(message=Batch, issuer=device.principal, audience=HUB)
    session = Session(device.session)
    began = time.perf_counter()
    for raw in messages:
        verdict = admit(raw, expected, trust, (session,))
        if not isinstance(verdict, Accepted) or verdict.session is None:
            raise ProcessFailedError(f"the gate refused a message ({verdict}): the figure is void")
        session = verdict.session
    return len(messages) / (time.perf_counter() - began)


def _only_verified(messages: Sequence[bytes], key: TrustedKey) -> float:
    signed: list[tuple[bytes, bytes]] = []
    for raw in messages:
        envelope = unwrap(raw)
        external = envelope.header.content_type.encode()
        to_sign = signing_input(protected=envelope.protected, payload=envelope.payload, external=external)
        signed.append((envelope.signature, to_sign))
    began = time.perf_counter()
    for signature, data in signed:
        key.verifies(signature, data)
    return len(signed) / (time.perf_counter() - began)


# --- a real hub ------------------------------------------------------------------------------------------------------


def _enrolled(hub: RealHub, count: int, run_: int) -> float:
    tokens = [hub.token(f"enrol-{run_}-{number}") for number in range(count)]
    requests = [enrol_request(Token.parse(token)) for token in tokens]
    shares = [requests[first::CLIENTS] for first in range(CLIENTS)]
    with ExitStack() as open_, ThreadPoolExecutor(CLIENTS) as threads:
        clients = [open_.enter_context(hub.http(timeout_s=CUT_TIMEOUT_S)) for _ in range(CLIENTS)]
        for client in clients:
            client.headers.pop("authorization")
            client.get("/v1/health").raise_for_status()  # the handshake is not what is measured
        began = time.perf_counter()
        done = list(threads.map(_enrol_all, clients, shares))
        elapsed = time.perf_counter() - began
    if sum(done) != count:
        raise ProcessFailedError(f"only {sum(done)} of {count} devices were enrolled: the figure is void")
    return count / elapsed


def _enrol_all(client: httpx.Client, requests: Sequence[dict[str, object]]) -> int:
    return sum("certificate_pem" in client.post(ENROL_PATH, json=request).json() for request in requests)


def _cut_by_command(hub: RealHub, directory: Path, name: str) -> float:
    with RawDevice(hub.enrol(name, directory / name)) as device:
        device.link()
        began = time.perf_counter()
        command = [*PROGRAM, "--home", hub.home, "device", "revoke", name]
        with subprocess.Popen(
            [str(part) for part in command], cwd=ROOT, stdout=subprocess.DEVNULL
        ) as process:
            elapsed = _until_cut(device, began)
            if process.wait(CUT_TIMEOUT_S) != 0:
                raise ProcessFailedError(f"`covey-hub device revoke {name}` failed: the figure is void")
        return elapsed


def _cut_by_request(hub: RealHub, directory: Path, name: str) -> float:
    with RawDevice(hub.enrol(name, directory / name)) as device, ThreadPoolExecutor(1) as thread:
        device.link()
        began = time.perf_counter()
        asked = thread.submit(hub.post, f"/v1/devices/{name}/revoke", {})
        elapsed = _until_cut(device, began)
        asked.result(CUT_TIMEOUT_S)
        return elapsed


def _until_cut(device: RawDevice, began: float) -> float:
    if not device.ended.wait(CUT_TIMEOUT_S):
        raise ProcessFailedError(f"{device.name} was not cut off: the figure is void")
    return time.perf_counter() - began


def _outcome(sizes: Sizes, got: _Measured, *, file_bytes: int) -> Outcome:
    return Outcome(
        figures=(
            figure("enrolments_per_s", "enrolments/s at the HTTPS door", got.enrolments, digits=1),
            figure(
                "gate_checks_per_s",
                f"gate checks/s, batches of {MESSAGE_RECORDS} records",
                got.gate,
                digits=0,
            ),
            figure("audit_records_per_s", "records/s, `audit verify`", got.audit, digits=0),
            figure("revoke_to_cut_s", "s from `covey-hub device revoke` to the cut", got.cut, digits=4),
            figure("revoke_request_to_cut_s", "s from the request to the cut", got.cut_api, digits=4),
            figure(
                "bare_verifications_per_s", "Ed25519 verifications/s of the same bytes", got.bare, digits=0
            ),
            Figure(
                key="gate_ratio",
                says="gate to bare verification",
                value=median(got.gate) / median(got.bare),
                digits=4,
            ),
            figure("plain_records_per_s", "records/s, decompress and one SHA-256", got.plain, digits=0),
            Figure(
                key="audit_ratio",
                says="`audit verify` to plain reading",
                value=median(got.audit) / median(got.plain),
                digits=6,
            ),
            Figure(key="records", says="records in the export", value=sizes.records, digits=0),
            Figure(
                key="export_bytes_per_record",
                says="bytes a record in it",
                value=file_bytes / sizes.records,
                digits=1,
            ),
            Figure(key="runs", says="runs", value=sizes.runs, digits=0),
        ),
        notes=("every device was enrolled, every message admitted, and the export is sound",),
    )
