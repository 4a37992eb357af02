"""`./run bench fleet --devices 100,1000,5000,10000`: how far one hub goes, and how its costs grow with the fleet.

For each size a fresh `covey-hub up` (SQLite at synchronous=FULL, its own Mosquitto with mutual TLS, product settings)
meets so many simulated devices in this process (`tests.bench.fleet.simulator`): they hold real keys and certificates
and speak the real protocol over TLS, with the product's timeouts and back-off. They are enrolled beforehand without
HTTP (`tests.bench.fleet.members`). Measured, in this order:

    connect_s         from the first connection to the last answered hello; at most 100 devices come up at once
    hub_cpu_share     processor time of the hub's process, of one processor, while each device writes a window of
    broker_cpu_share  metrics a minute, pings, and says hello as often as the product does
    hub_rss_mb        resident memory at the end of that; `*_idle_rss_mb` before the first device came
    fanout_p50_s      from the HTTP request that changes the desired settings of all devices until a device has taken
    fanout_p99_s      them up; each then reports it. Of all devices, in several rounds
    records_per_s     every device has a backlog of whole tasks at once: records, until all are acknowledged
    storm_settle_s    the broker gets SIGKILL; until every device is linked again. The hub starts the broker again

A figure is void unless the hub's database then holds every record of every device, in order, with no dead letters.
The exponent of a cost is its slope over the number of devices, both as logarithms; that of memory is of what the fleet
adds to the idle process. Simulator, broker and hub share the machine's processors, so the figures are a lower bound.
"""

import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from shared.ids import UPWARD, Lane
from tests.bench.fleet.evidence import check_logs
from tests.bench.fleet.fanout import desire
from tests.bench.fleet.figures import Run, percentile
from tests.bench.fleet.members import Member, furnish_hub, make_identity, make_members
from tests.bench.fleet.simulator import Fleet
from tests.bench.fleet.workload import backlog
from tests.bench.stack import cpu_s, resident_mb
from tests.support.process import ProcessFailedError
from tests.support.real_hub import RealHub

DEVICES: Final = (100, 1_000, 5_000, 10_000)
ROUTINE_INTERVAL_S: Final = 60.0
WARM_UP_S: Final = 5.0
"""Between two phases: what the last one left to be done is not charged to the next."""
STEADY_S: Final = 30.0
BACKLOG_RECORDS: Final = 50
FANOUT_ROUNDS: Final = 3
SPARE_FILES: Final = 500
"""Open files that a process needs beside one for each device."""
TOLD_EACH: Final = 1_000
PATIENCE_S: Final = 60.0
PATIENCE_PER_DEVICE_S: Final = 0.05
"""How long a phase may take: beyond it the bench fails, with what it knows."""
LOG_TAIL_CHARS: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sizes, and how long and how much at each."""

    devices: tuple[int, ...] = DEVICES
    warm_up_s: float = WARM_UP_S
    steady_s: float = STEADY_S
    routine_interval_s: float = ROUTINE_INTERVAL_S
    backlog_records: int = BACKLOG_RECORDS
    fanout_rounds: int = FANOUT_ROUNDS


def run(directory: Path, plan: Plan) -> list[Run]:
    """Measure each size. Raises `ProcessFailedError` when something did not do its part in time."""
    most = max(plan.devices)
    allow_open_files(most + SPARE_FILES)
    authority_home = directory / "authority"
    make_identity(authority_home)
    members: list[Member] = []
    begin = time.monotonic()
    for member in make_members(most, authority_home=authority_home, directory=directory / "members"):
        members.append(member)
        if len(members) % TOLD_EACH == 0 or len(members) == most:
            tell(f"{len(members):,} of {most:,} have keys and certificates, {time.monotonic() - begin:.0f} s")
    runs = []
    for n in plan.devices:
        place = directory / f"fleet-{n}"
        runs.append(_Measurement(place, members[:n], authority_home, plan).run())
        shutil.rmtree(place)
    return runs


def tell(text: str) -> None:
    print(f"fleet: {text}", file=sys.stderr, flush=True)


def allow_open_files(count: int) -> None:
    """Let this process and its children (hub and broker) open so many files. Raises `ProcessFailedError`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard)))
    except (ValueError, OSError) as error:
        raise ProcessFailedError(
            f"{count} files must be open at once and {hard} may be: raise it (`ulimit -Hn`) or take fewer devices"
        ) from error


class _Measurement:
    """One size of fleet, from an empty hub to its figures."""

    def __init__(self, directory: Path, members: Sequence[Member], authority_home: Path, plan: Plan) -> None:
        self._members = members
        self._plan = plan
        self._n = len(members)
        self._patience_s = PATIENCE_S + self._n * PATIENCE_PER_DEVICE_S
        self._authority = make_identity(authority_home)
        home = directory / "hub"
        directory.mkdir()
        furnish_hub(home, authority_home=authority_home, members=members)
        self._hub = RealHub(home, settings={}, log_level="warning")

    def run(self) -> Run:
        hub = self._hub
        try:
            hub.start()
            self._rest(self._plan.warm_up_s)
            hub_idle, broker_idle = resident_mb(hub.process.pid), resident_mb(self._broker())
            with Fleet(
                self._members,
                address=("127.0.0.1", hub.mqtt_port),
                ca=self._authority.paths.ca,
                hub=self._authority.signer.public,
                check=self._check,
            ) as fleet:
                connect_s = self._connect(fleet)
                hub_share, broker_share = self._steady(fleet)
                hub_rss, broker_rss = resident_mb(hub.process.pid), resident_mb(self._broker())
                fanout = self._fan_out(fleet)
                records_per_s = self._drain(fleet)
                storm_s = self._storm(fleet)
                self._settle(fleet)
                tell(f"{self._n:,}: the simulator takes {resident_mb(os.getpid()):.0f} MB; {fleet}")
                heads = {
                    (peer.device.principal, lane): peer.device.head(lane)
                    for peer in fleet.peers
                    for lane in UPWARD
                }
            check_logs(hub.home / "hub.sqlite", heads)
        except httpx.HTTPError as error:
            raise ProcessFailedError(
                f"the hub did not do what it was asked for ({error}); {self._log()}"
            ) from error
        except ProcessFailedError:
            tell(self._log())
            raise
        finally:
            hub.close()
        return Run(
            n=self._n,
            connect_s=connect_s,
            hub_cpu_share=hub_share,
            broker_cpu_share=broker_share,
            hub_rss_mb=hub_rss,
            hub_idle_rss_mb=hub_idle,
            broker_rss_mb=broker_rss,
            broker_idle_rss_mb=broker_idle,
            records_per_s=records_per_s,
            fanout_p50_s=percentile(fanout, 0.5),
            fanout_p99_s=percentile(fanout, 0.99),
            storm_settle_s=storm_s,
        )

    # --- phases

    def _connect(self, fleet: Fleet) -> float:
        begin = time.monotonic()
        fleet.switch_on()
        fleet.run_until(lambda: fleet.linked == self._n, "to link", timeout_s=self._patience_s)
        took_s = time.monotonic() - begin
        tell(f"{self._n:,}: linked after {took_s:.1f} s")
        return took_s

    def _steady(self, fleet: Fleet) -> tuple[float, float]:
        """Shares of a processor that hub and broker use."""
        fleet.begin_routine(self._plan.routine_interval_s)
        fleet.run_for(self._plan.warm_up_s)
        pids = self._hub.process.pid, self._broker()
        begin, before = time.monotonic(), [cpu_s(pid) for pid in pids]
        fleet.run_for(self._plan.steady_s)
        lasted_s = time.monotonic() - begin
        shares = [(cpu_s(pid) - used) / lasted_s for pid, used in zip(pids, before, strict=True)]
        fleet.end_routine()
        self._settle(fleet)
        tell(f"{self._n:,}: steady, hub {shares[0]:.1%} and broker {shares[1]:.1%} of a processor")
        return shares[0], shares[1]

    def _fan_out(self, fleet: Fleet) -> list[float]:
        """Seconds from the request to each device."""
        took_s: list[float] = []
        with ThreadPoolExecutor(1) as pool:
            for number in range(self._plan.fanout_rounds):
                fleet.run_for(self._plan.warm_up_s)
                fleet.begin_round()
                begin = time.monotonic()
                asked = pool.submit(desire, self._hub, number, timeout_s=self._patience_s)
                fleet.run_until(
                    _all_of(fleet, self._n, asked), "to apply an order", timeout_s=self._patience_s
                )
                asked.result()
                took_s += [at - begin for at in fleet.ordered_at]
                tell(f"{self._n:,}: every device has taken a setting up after {took_s[-1]:.2f} s")
                self._settle(fleet)  # they report it
        return took_s

    def _drain(self, fleet: Fleet) -> float:
        """Records a second."""
        fleet.run_for(self._plan.warm_up_s)
        begin = time.monotonic()
        count = fleet.append(
            Lane.JOURNAL,
            lambda device: backlog(
                device.principal,
                first_seq=device.head(Lane.JOURNAL).seq + 1,
                count=self._plan.backlog_records,
            ),
        )
        self._settle(fleet)
        took_s = time.monotonic() - begin
        tell(f"{self._n:,}: {count:,} records in {took_s:.1f} s")
        return count / took_s

    def _storm(self, fleet: Fleet) -> float:
        fleet.run_for(self._plan.warm_up_s)
        fleet.begin_round()
        begin = time.monotonic()
        os.kill(self._broker(), signal.SIGKILL)
        fleet.run_until(
            lambda: fleet.linked_anew == fleet.linked == self._n, "to link again", timeout_s=self._patience_s
        )
        took_s = time.monotonic() - begin
        tell(f"{self._n:,}: linked again {took_s:.1f} s after the broker was killed")
        return took_s

    def _settle(self, fleet: Fleet) -> None:
        fleet.run_until(
            lambda: fleet.unacknowledged == 0, "to have everything acknowledged", timeout_s=self._patience_s
        )

    # --- hub and broker

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left_s, 1.0))

    def _check(self) -> None:
        if not self._hub.process.is_running:
            raise ProcessFailedError("the hub ended while its fleet was measured")

    def _broker(self) -> int:
        pid = self._hub.broker_pid
        if pid is None:
            raise ProcessFailedError("the broker is gone")
        return pid

    def _log(self) -> str:
        return f"the end of the hub's log:\n{self._hub.process.output()[-LOG_TAIL_CHARS:]}"


def _all_of(fleet: Fleet, n: int, asked: Future[None]) -> Callable[[], bool]:
    def is_done() -> bool:
        if asked.done():
            asked.result()  # raises what went wrong
        return len(fleet.ordered_at) == n and asked.done()

    return is_done
