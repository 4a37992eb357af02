"""Somebody who keeps giving the hub work over HTTPS while it is being killed: creates, cancels, answers questions.

Runs on a thread of its own. A task whose creation was confirmed is a promise; a request that got no answer is none.
"""

import threading
from contextlib import suppress
from random import Random
from typing import Any, Final

import httpx

from tests.chaos.stage import Stage

PATIENCE_S: Final = 2.0
LIFE_S: Final = 31_536_000
"""Of a task: longer than any jump of a clock, so that no lease lapses and no deadline comes."""
PAUSE_S: Final = 0.25
CANCEL_SHARE: Final = 0.15
OPEN_MAX: Final = 8
"""Tasks of its own that are open at once."""


class Customer:
    """Start with `start`. `no_more` stops new tasks, `stop` everything."""

    def __init__(self, stage: Stage, seed: str) -> None:
        self.promised: list[tuple[str, int]] = []
        """Tasks that were confirmed, each with the stage's era before the request."""
        self._stage = stage
        self._devices = stage.devices
        self._random = Random(seed)
        self._open: set[str] = set()
        self._wants_more = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="customer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def no_more(self) -> None:
        self._wants_more = False

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10 * PATIENCE_S)
        assert not self._thread.is_alive(), "the customer does not end"

    def _run(self) -> None:
        with self._stage.site.api.http(timeout_s=PATIENCE_S) as http:
            while not self._stop.wait(PAUSE_S):
                with suppress(httpx.HTTPError):  # the hub is not there now; the next visit is soon
                    self._visit(http)

    def _visit(self, http: httpx.Client) -> None:
        if self._wants_more and len(self._open) < OPEN_MAX:
            self._create(http)
        for task in sorted(self._open):
            answer = http.get(f"/v1/tasks/{task}")
            if answer.status_code == httpx.codes.NOT_FOUND:
                self._open.discard(task)  # a restored hub knows it no more
            if answer.status_code != httpx.codes.OK:
                continue
            view = answer.json()
            if view["state"] in ("queued", "offered", "running", "waiting"):
                self._answer_questions(http, view)
            else:
                self._open.discard(task)

    def _create(self, http: httpx.Client) -> None:
        names = [device.name for device in self._devices]
        chosen = self._random.sample(names, self._random.randint(1, min(2, len(names))))
        body = {
            "goal": f"Task {len(self.promised)} of the hub.",
            "devices": chosen,
            "lease_s": LIFE_S,
            "deadline_s": LIFE_S,
        }
        era = self._stage.era
        answer = http.post("/v1/tasks", json=body)
        if answer.status_code != httpx.codes.CREATED:
            return
        task = str(answer.json()["id"])
        self.promised.append((task, era))
        self._open.add(task)
        if self._random.random() < CANCEL_SHARE:
            http.post(f"/v1/tasks/{task}/cancel")

    def _answer_questions(self, http: httpx.Client, view: dict[str, Any]) -> None:
        """Truthfully: whoever looks sees in the ledger whether it happened."""
        for node in view["nodes"]:
            for effect in node["effects"]:
                if effect["question"] == "asked":
                    happened = any(
                        device.has_done((view["id"], node["node"], effect["call"]))
                        for device in self._devices
                        if device.principal == effect["principal"]
                    )
                    body = {"call": effect["call"], "happened": happened}
                    http.post(f"/v1/tasks/{view['id']}/nodes/{node['node']}/answer", json=body)
