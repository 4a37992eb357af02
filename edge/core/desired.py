"""Which desired settings a device takes up, and what of what it then runs the hub has to be told. Pure (rule P22).

Whoever fixed a setting on this very device (its command line or its `edge.toml`) knows the board and may be the only
one who can reach it: such a setting stands against the hub's, and is reported as `fixed_locally`. A board profile and
the defaults do not stand against it. What cannot be taken up is refused key by key; the rest applies.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from edge.ports import ReportedSettings
from shared.records import MAX_REFUSED, ForeignCause
from shared.twin import Document, difference, is_same

CUSTOM: Final = "custom"
"""The key whose object is not ours: it is handed through to tools and to programs on the device."""
MORE: Final = "more"
"""Stands for what was refused beyond what one record can name."""

Fits = Callable[[Mapping[str, object]], bool]
"""Whether these values, by name, would be valid settings together with those that are not named."""


class Refusal(StrEnum):
    """Why a setting is not taken up."""

    UNKNOWN = "unknown_setting"
    """This version of the device has no such run-time setting."""
    INVALID = "invalid"
    """The value is of a wrong type, out of its bounds, or does not go with the others."""
    FIXED_LOCALLY = "fixed_locally"
    """A person fixed another value on the device."""
    MORE = "more_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What is taken up: `values` by name, the `custom` object, and codes of refusal by name."""

    values: Mapping[str, object]
    custom: Document
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What the device runs: `document` are all its run-time settings. `order` is the order that it took up, if any."""

    revision: int
    order: ForeignCause | None
    document: Document
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is to be told: the difference to the last report, or everything."""

    patch: Document
    is_whole: bool


def take_up(desired: Document, *, local: Document, fixed: Collection[str], fits: Fits) -> Taken:
    """What of `desired` applies. `local`: the run-time settings by name as they are without the hub."""
    wanted: dict[str, object] = {}
    refused: dict[str, str] = {}
    custom: Document = {}
    for name, value in desired.items():
        if name == CUSTOM:
            if isinstance(value, dict):
                custom = cast("Document", value)
            else:
                refused[name] = Refusal.INVALID
        elif name not in local:
            refused[name] = Refusal.UNKNOWN
        elif name in fixed:
            if not is_same(value, local[name]):
                refused[name] = Refusal.FIXED_LOCALLY
        else:
            wanted[name] = value
    values = _fitting(wanted, fits)
    refused |= {name: Refusal.INVALID for name in wanted if name not in values}
    return Taken(values=values, custom=custom, refused=_bounded(refused))


def report_due(running: Running, reported: ReportedSettings | None, *, epoch: bytes) -> Report | None:
    """What the hub has to be told by a record of the journal `epoch`, or None if it knows.

    Everything, if the last report went into another journal (the store was made anew, or branched), or answered to
    another orders log (the hub lost its own, and may have lost our reports).
    """
    order_epoch = None if running.order is None else running.order.epoch
    if reported is None or (reported.epoch, reported.order_epoch) != (epoch, order_epoch):
        return Report(patch=running.document, is_whole=True)
    patch = difference(reported.document, running.document)
    if not patch and (reported.revision, reported.refused) == (running.revision, running.refused):
        return None
    return Report(patch=patch, is_whole=False)


def _fitting(wanted: Mapping[str, object], fits: Fits) -> dict[str, object]:
    """All, or as many as go together. The order in which they are named makes no difference to what each is worth."""
    if fits(wanted):
        return dict(wanted)
    taken: dict[str, object] = {}
    left = dict(sorted(wanted.items()))
    while True:
        # Some are only valid beside others, so what did not fit is tried again once others were taken.
        more = next((name for name, value in left.items() if fits({**taken, name: value})), None)
        if more is None:
            return taken
        taken[more] = left.pop(more)


def _bounded(refused: Mapping[str, str]) -> dict[str, str]:
    """As many as one record can name, in the order of their names."""
    named = sorted(refused.items())
    if len(named) <= MAX_REFUSED:
        return dict(named)
    return {**dict(named[: MAX_REFUSED - 1]), MORE: Refusal.MORE.value}
