"""What the demo's devices know: manuals that the hub ingests and passes on, and facts that a person tells one of them.

Every answer must name the document that says it, wherever the device is; every fact must come back as it was told.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.demo.hub import Hub
from deploy.demo.paper import draw
from deploy.demo.stage import Device, StageError, wait_until
from deploy.demo.told import Told, must_rest_on, must_say, told_in

HERE: Final = Path(__file__).parent
COLLECTION: Final = "manuals"
ARRIVAL_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question whose answer stands only in the document of this title."""

    question: str
    title: str


AT_THE_HUB: Final = (
    Asked(question="What does fault code E4 mean?", title="fault-codes"),
    Asked(question="How much disinfectant is mixed with one litre of water?", title="Cleaning schedule"),
)
WHILE_LINKED: Final = Asked(
    question="How long may the door of the cold room stay open?", title="Cold room KR-4"
)
WHILE_CUT_OFF: Final = (
    Asked(question="Which oil does the compressor take?", title="Compressor unit VK-12"),
    Asked(question="What is done when the power fails?", title="Cold room KR-4"),
)
FACT: Final = "Remember that the cold room's key holder is Anna Berg."
NEWER_FACT: Final = "Remember that the cold room's key holder is now Jonas Falk."
WHO: Final = "Who is the key holder of the cold room?"
SINCE_WHEN: Final = "Since when is Jonas Falk the key holder of the cold room?"


class Knowing:
    """Steps of the story. Each returns what was seen, and raises `StageError` if something expected does not hold."""

    def __init__(self, hub: Hub, devices: list[Device]) -> None:
        self._hub = hub
        self._devices = devices

    def ingest(self) -> str:
        """The folder of manuals becomes a collection of the hub's."""
        folder = self._hub.stage.directory / COLLECTION
        shutil.copytree(HERE / COLLECTION, folder)
        draw((HERE / "compressor-sheet.txt").read_text(encoding="utf-8"), folder / "compressor-sheet.pdf")
        self._hub.run("knowledge", "create", COLLECTION)
        self._hub.run("knowledge", "add", COLLECTION, str(folder))
        documents = self._hub.json("knowledge", "show", COLLECTION)
        unread = [each["name"] for each in documents if each["state"] != "ready" or not each["chunks"]]
        if unread or len(documents) != len(list(folder.iterdir())):
            raise StageError(f"Not all manuals were read: {', '.join(unread) or 'some are missing'}.")
        return ", ".join(f"{each['name']} ({each['chunks']})" for each in documents) + " passages"

    def ask_hub(self) -> str:
        """The hub answers from them."""
        return "\n".join(self._asked_hub(each).line for each in AT_THE_HUB)

    def subscribe(self) -> str:
        """All devices are to hold them, and do."""
        self._hub.run("twin", "set", "--fleet", f'knowledge=["{COLLECTION}"]')
        rows = wait_until(
            f"the devices to hold {COLLECTION}",
            self._held_by_all,
            timeout_s=ARRIVAL_TIMEOUT_S,
            every_s=0.5,
        )
        return ", ".join(f"{each['device']}: {each['held_chunks']} of {each['chunks']}" for each in rows)

    def ask_linked(self) -> str:
        return self._asked(self._devices[0], WHILE_LINKED).line

    def tell(self) -> str:
        """A person tells device 3 a fact, and asks for it."""
        device = self._devices[2]
        self._said(device, FACT)
        return self._recalled(device, WHO, "Anna Berg").line

    def ask_cut_off(self) -> str:
        """Device 3, which nobody reaches, answers from the manuals."""
        return "\n".join(self._asked(self._devices[2], each).line for each in WHILE_CUT_OFF)

    def recall_cut_off(self) -> str:
        """And from what it was told: how it is, since when, and how it was before."""
        device = self._devices[2]
        before = self._recalled(device, WHO, "Anna Berg")
        self._said(device, NEWER_FACT)
        now = self._recalled(device, WHO, "Jonas Falk")
        since = self._recalled(device, SINCE_WHEN, "Jonas Falk", "Anna Berg")
        return "\n".join(each.line for each in (before, now, since))

    # --- one question

    def _asked_hub(self, asked: Asked) -> Told:
        answer = self._hub.answer(asked.question, COLLECTION)
        told = Told(
            text=answer["text"], sources=tuple(each["passage"]["citation"] for each in answer["sources"])
        )
        return must_rest_on(told, asked.title, who="The hub", question=asked.question)

    def _asked(self, device: Device, asked: Asked) -> Told:
        return must_rest_on(
            self._said(device, asked.question), asked.title, who=device.name, question=asked.question
        )

    def _recalled(self, device: Device, question: str, *words: str) -> Told:
        return must_say(self._said(device, question), words, who=device.name, question=question)

    def _said(self, device: Device, request: str) -> Told:
        return told_in(device.edge_json("ask", request)["answer"])

    def _held_by_all(self) -> list[dict[str, object]] | None:
        rows = self._hub.json("knowledge", "devices", COLLECTION)
        applied = [
            each for each in rows if each["state"] == "applied" and each["held_chunks"] == each["chunks"]
        ]
        return applied if len(applied) == len(self._devices) else None
