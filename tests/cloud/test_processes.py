"""A hub of several real processes: they share the work, and one that dies takes nothing with it."""

import json
import queue
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cloud.db import Database
from cloud.ingest.status import word_of
from cloud.leader import Lease
from edge.identity import enrol
from tests.support.process import ChildProcess
from tests.support.real_device import RealDevice
from tests.support.real_hub import PROGRAM, ROOT, SETTINGS, RealHub, hub_command
from tests.support.split_hub import READY, SplitHub, wait_for, wait_ready

pytestmark = [pytest.mark.broker, pytest.mark.slow]

WAIT_S = 120.0
QUICK = {**SETTINGS, "leader_lease_s": 1.0, "presence_will_grace_s": 0.5}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SplitHub]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("hub_postgres")
    with SplitHub(tmp_path, database_url=url, settings=QUICK) as split:
        yield split


@pytest.fixture
def sqlite_hub(tmp_path: Path) -> Iterator[SplitHub]:
    with SplitHub(tmp_path, settings=QUICK) as split:
        yield split


@pytest.fixture
def device(tmp_path: Path) -> Iterator[RealDevice]:
    device = RealDevice("fridge-1", tmp_path / "fridge-1")
    device.home.mkdir()
    yield device
    device.process.stop()


def let_in(device: RealDevice, api: RealHub) -> None:
    """Enrolled through this process, and running."""
    token = api.token(device.name)
    enrol(device.home / "identity", token_text=token, device=None, hub_url=None)
    device.configure()
    device.process.start()
    device.wait_ready()


def records_of(api: RealHub) -> int:
    lanes = api.device("fridge-1")["lanes"]
    return sum(lane["head_seq"] for lane in lanes if lane["lane"] == "journal")


def states_of(heard: "queue.Queue[bytes]", hub: SplitHub, wanted: list[str]) -> None:
    """Wait until the hub's own topic has said these things in this order, perhaps among others."""
    for word in wanted:
        while True:
            is_online = word_of(heard.get(timeout=WAIT_S), hub.identity.trust)
            if is_online is (word == "online"):
                break


def test_work_goes_on_through_every_worker_and_api_process_whoever_is_killed(
    hub: SplitHub, device: RealDevice
) -> None:
    """P15, P18: orders that an API process appends are sent by workers; a worker's death is contradicted by another."""
    with ExitStack() as stack:
        apis = [stack.enter_context(hub.api()) for _ in range(2)]
        workers = [stack.enter_context(hub.ingest()) for _ in range(2)]
        for worker in workers:
            wait_ready(worker)
        let_in(device, apis[0])
        device.may_write(200)
        wait_for(device.process, lambda: records_of(apis[1]) >= 200, "to have its records at the hub")

        heard = stack.enter_context(hub.hub_status())
        states_of(heard, hub, ["online"])
        workers[0].kill()
        states_of(heard, hub, ["offline", "online"])

        task = apis[1].post("/v1/tasks", {"goal": "?", "devices": ["fridge-1"]})["id"]
        device.may_write(400)
        ended = ("succeeded", "failed", "rejected")
        wait_for(
            device.process,
            lambda: apis[0].get(f"/v1/tasks/{task}")["state"] in ended and records_of(apis[0]) >= 400,
            "to do its task and be heard",
        )
        apis[0].kill()
        workers[0].start()
        wait_ready(workers[0])
        workers[1].kill()
        device.may_write(600)
        wait_for(
            device.process, lambda: records_of(apis[1]) >= 600, "to be heard by the worker that came back"
        )
        verified = hub_command(apis[1], "journal", "verify", "--all", "--json")
        assert verified.returncode == 0, verified.stdout


def lease(database: Database) -> Lease | None:
    with database.read() as session:
        return session.get(Lease, "leader")


def database_of(hub: SplitHub, api: RealHub) -> Database:
    settings = (api.home / "hub.toml").read_text()
    url = next((line.split('"')[1] for line in settings.splitlines() if line.startswith("database_url")), "")
    return Database(url or f"sqlite:///{hub.home / 'hub.sqlite'}")


def is_taken(database: Database, *, after: int) -> Callable[[], bool]:
    def look() -> bool:
        found = lease(database)
        return found is not None and found.generation == after + 1

    return look


def who_leads(processes: Mapping[str, ChildProcess], generation: int) -> str | None:
    told = f"generation {generation})"
    return next((name for name, process in processes.items() if told in process.output()), None)


def test_periodic_jobs_go_to_another_process_when_the_leader_is_killed(hub: SplitHub) -> None:
    """The sweep ends a task at its deadline, whoever leads."""
    with ExitStack() as stack:
        api = stack.enter_context(hub.api())
        workers = [stack.enter_context(hub.ingest()) for _ in range(2)]
        for worker in workers:
            wait_ready(worker)
        database = stack.enter_context(closing(database_of(hub, api)))
        processes = {"api": api.process, "worker 1": workers[0], "worker 2": workers[1]}
        dead: set[str] = set()
        for _ in range(2):
            watched = api.process if "api" not in dead else workers[1]
            held = wait_for(watched, lambda: lease(database), "to lead")
            alive = {name: process for name, process in processes.items() if name not in dead}
            # The lease is in the database a moment before its holder says so.
            leader = wait_for(watched, partial(who_leads, alive, held.generation), "to say that it leads")
            if leader == "api":  # it is asked below
                api.process.signal(signal.SIGSTOP)
            else:
                processes[leader].kill()
            dead.add(leader)
            survivor = next(process for name, process in processes.items() if name not in dead)
            wait_for(survivor, is_taken(database, after=held.generation), "to take over")
        if "api" in dead:
            api.process.signal(signal.SIGCONT)
        task = api.post("/v1/tasks", {"goal": "?", "any": True, "deadline_s": 1})["id"]
        wait_for(
            api.process, lambda: api.get(f"/v1/tasks/{task}")["state"] == "expired", "to see the task expired"
        )


def test_processes_that_start_at_once_in_a_new_home_make_one_identity(tmp_path: Path) -> None:
    settings = {**QUICK, "mqtt_url": "mqtts://localhost:1"}
    apis = [
        RealHub(tmp_path / "hub", settings=settings, command=("serve", "--role", "api")) for _ in range(3)
    ]
    for number, api in enumerate(apis):
        api.process.log = tmp_path / f"api-{number}.log"
    with ExitStack() as stack:
        for api in apis:
            stack.callback(api.close)
        with ThreadPoolExecutor(len(apis)) as threads:
            list(threads.map(RealHub.start, apis))
        # Each serves with the certificate and the token that the files hold, or this would be refused.
        assert [api.get("/v1/devices")["devices"] for api in apis] == [[], [], []]
        said = [json.loads(path.read_text()) for path in (tmp_path / "hub" / "run").iterdir()]
        assert sorted(fact["url"] for fact in said) == sorted(f"https://127.0.0.1:{api.port}" for api in apis)


def test_worker_says_when_it_is_ready_and_is_not_before_it_hears_the_devices(sqlite_hub: SplitHub) -> None:
    hub = sqlite_hub
    hub.broker.stop()
    with hub.ingest() as worker:
        worker.wait_for_line("not reachable", timeout_s=WAIT_S)
        assert READY not in worker.output()
        assert not (hub.home / "run").exists()
        hub.broker.start()
        wait_ready(worker)
        (file,) = (hub.home / "run").iterdir()
        said: dict[str, Any] = json.loads(file.read_text())
        assert said["role"] == "ingest"
        assert "url" not in said
        assert said["pid"] == worker.pid
        worker.signal(signal.SIGTERM)
        assert worker.wait(timeout_s=WAIT_S) == 0
        assert not file.exists()


def test_home_is_shared_by_processes_with_roles_and_by_no_others(sqlite_hub: SplitHub) -> None:
    hub = sqlite_hub

    def refused(*arguments: str) -> None:
        alone = ChildProcess(
            [*PROGRAM, "--home", hub.home, *arguments], log=hub.home.with_name("alone.log"), directory=ROOT
        )
        alone.start()
        assert alone.wait(timeout_s=WAIT_S) == 78
        assert "Another hub runs in" in alone.output()

    with hub.ingest() as worker:
        wait_ready(worker)
        refused("up")
        refused("serve", "--role", "all")
    everything = RealHub(
        hub.home, settings={**QUICK, "mqtt_url": f"mqtts://localhost:{hub.broker.port}"}, command=("serve",)
    )
    with everything:
        refused("serve", "--role", "ingest")


def test_commands_find_an_api_process_that_lives(sqlite_hub: SplitHub) -> None:
    hub = sqlite_hub
    with hub.api() as one, hub.api() as two:
        one.kill()
        assert len(list((hub.home / "run").iterdir())) == 2  # what the killed one left is not believed
        listed = hub_command(two, "device", "list", "--json")
        assert (listed.returncode, listed.stdout.strip()) == (0, "[]")
