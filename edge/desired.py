"""The settings that the hub desires, taken up while the device runs, kept over restarts, and reported back.

The last order lies in the store, in the transaction that took it, so a device that starts offline runs what it was
told last. What applies is `core.desired`'s decision; here it is read, handed to the parts that listen, and reported.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Collection
from typing import Any, Final

from pydantic import ValidationError

from edge.core.desired import CUSTOM, Running, Taken, report_due, take_up
from edge.ports import DesiredSettings, Draft, Journal, ReportedSettings, SettingsStore
from edge.settings import RUN_TIME_SETTINGS, EdgeSettings
from shared.blobs import SALT_BYTES, Blob
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, UnavailableError
from shared.ids import Lane
from shared.records import TwinReported
from shared.twin import Document, canonical, is_same

logger = logging.getLogger(__name__)

RETRY_S: Final = 30.0
"""How long to wait when the store could not take the report."""


SIDES: Final = ("desired", "applied", "reported")


class Desired:
    """One device's settings. `reports`: whether there is a hub to tell."""

    def __init__(
        self,
        *,
        store: SettingsStore,
        journal: Journal,
        clock: Clock,
        settings: EdgeSettings,
        fixed: Collection[str],
        reports: bool,
    ) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._local = settings
        self._fixed = frozenset(fixed)
        self._reports = reports
        self._settings = settings
        self._custom: Document = {}
        self._has_looked = False
        self._listeners: list[Callable[[EdgeSettings], None]] = []
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def settings(self) -> EdgeSettings:
        """What is in effect now."""
        return self._settings

    @property
    def taken(self) -> EdgeSettings | None:
        """What is in effect, once it is known what the hub desires; None before."""
        return self._settings if self._has_looked else None

    @property
    def custom(self) -> Document:
        """The desired `custom` object, for tools and programs; empty if there is none."""
        return self._custom

    def on_change(self, listener: Callable[[EdgeSettings], None]) -> None:
        """Call `listener` on the loop with the settings in effect, whenever they are others than before."""
        self._listeners.append(listener)

    def changed(self) -> None:
        """Orders came."""
        self._changed.set()

    async def run(self) -> None:
        """Follow the orders until cancelled."""
        while True:
            self._changed.clear()
            retry_s = None if await self._try() else RETRY_S
            try:
                async with asyncio.timeout(retry_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def take_up(self) -> None:
        """Take up what was ordered last, and report it if the hub does not know.

        Raises `CapacityError` or `UnavailableError` if the store cannot take the report; what was taken up applies.
        """
        async with self._turn:
            desired, reported = await self._store.settings()
            taken = self._taken(desired)
            self._apply(taken)
            if self._reports:
                await self._report(self._running(desired, taken), reported)

    async def twin(self) -> dict[str, Any]:
        """What is desired, what of it applies, and what was reported, as of now."""
        desired, reported = await self._store.settings()
        return describe(desired, self._running(desired, self._taken(desired)), reported)

    async def _try(self) -> bool:
        try:
            await self.take_up()
        except (CapacityError, UnavailableError) as error:
            logger.warning("the settings could not be reported: %s", error)
            return False
        return True

    def _taken(self, desired: DesiredSettings | None) -> Taken:
        return take_up(
            {} if desired is None else desired.document,
            local=document_of(self._local),
            fixed=self._fixed,
            fits=lambda values: _combined(self._local, values) is not None,
        )

    def _apply(self, taken: Taken) -> None:
        settings = _combined(self._local, taken.values)
        assert settings is not None, "what is taken up fits"
        self._custom = taken.custom
        self._has_looked = True
        if settings == self._settings:
            return
        before, after = document_of(self._settings), document_of(settings)
        changed = sorted(name for name in after if not is_same(before[name], after[name]))
        logger.info("settings from the hub: %s", ", ".join(changed))
        self._settings = settings
        for listener in self._listeners:
            listener(settings)

    def _running(self, desired: DesiredSettings | None, taken: Taken) -> Running:
        settings = _combined(self._local, taken.values)
        assert settings is not None, "what is taken up fits"
        document = document_of(settings)
        if taken.custom:
            document[CUSTOM] = taken.custom
        return Running(
            revision=0 if desired is None else desired.revision,
            order=None if desired is None else desired.order,
            document=document,
            refused=taken.refused,
        )

    async def _report(self, running: Running, reported: ReportedSettings | None) -> None:
        journal = await self._store.lane(Lane.JOURNAL)
        assert journal is not None, "a store has a journal from its first opening"
        report = report_due(running, reported, epoch=journal.id.epoch)
        if report is None:
            return
        blob = Blob(salt=os.urandom(SALT_BYTES), content=canonical(report.patch))
        record = TwinReported(
            at_ms=to_ms(self._clock.now()),
            causes=() if running.order is None else (running.order,),
            revision=running.revision,
            patch=blob.ref(),
            is_whole=report.is_whole,
            refused=tuple(running.refused.items()),
        )
        await self._journal.append(Draft(record, (blob,)), durable=False)


def document_of(settings: EdgeSettings) -> Document:
    """The run-time settings as JSON."""
    document: Document = settings.model_dump(mode="json", include=set(RUN_TIME_SETTINGS))
    return document


def describe(
    desired: DesiredSettings | None, running: Running | None, reported: ReportedSettings | None
) -> dict[str, Any]:
    """For the local API and the commands. Without a running device, what it reported last is what it ran."""
    applied: dict[str, Any] | None = None
    refused: dict[str, str] = {}
    if running is not None:
        applied = {"revision": running.revision, "document": running.document}
        refused = dict(running.refused)
    elif reported is not None:
        applied = {"revision": reported.revision, "document": reported.document}
        refused = dict(reported.refused)
    return {
        "desired": None
        if desired is None
        else {"revision": desired.revision, "at": desired.at.isoformat(), "document": desired.document},
        "applied": applied,
        "refused": refused,
        "reported": None
        if reported is None
        else {"revision": reported.revision, "at": reported.at.isoformat()},
    }


def summarize(twin: dict[str, Any]) -> dict[str, Any]:
    """For the status: the revisions of what `describe` tells, and what was refused."""
    sides = {side: None if twin[side] is None else twin[side]["revision"] for side in SIDES}
    return {**sides, "refused": twin["refused"]}


def _combined(local: EdgeSettings, values: Any) -> EdgeSettings | None:
    """The local settings with these values in their place, None if that is not valid."""
    try:
        # Strictly: the hub's JSON has types, and true is no number.
        return EdgeSettings.model_validate({**dict(local), **values}, strict=True)
    except ValidationError:
        return None
