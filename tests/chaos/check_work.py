"""What must be true of work: every order had its effect once, and the tables on both sides say what the logs say. Pure.

Effects are counted in the ledger that the tools write outside of the store, not in what the device says of itself.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from shared.ids import Lane
from shared.tasks.states import TERMINAL, NodeState
from tests.chaos.evidence import Call, DeviceHistory, History, HubDevice, NodeFacts, Place
from tests.chaos.stories import Stories
from tests.chaos.violations import Violation

LOOKS: Final = frozenset({"memory.read"})
"""What a device does of itself before it asks its model: it carries nothing out that a ledger could tell of."""


def device_stories(device: DeviceHistory) -> Stories:
    """What the device's own logs say."""
    stories = Stories()
    journals = [log for log in device.written if log.lane.lane is Lane.JOURNAL]
    stories.tell_orders(device.orders)
    stories.tell_unseen(device.orders, journals)
    stories.tell_journals(journals)
    return stories


def hub_stories(held: HubDevice) -> Stories:
    """What the hub's copies say."""
    stories = Stories(learns_from_replies=True)
    stories.tell_orders(held.orders)
    stories.tell_journals([log for log in held.logs if log.lane.lane is Lane.JOURNAL])
    return stories


def check_work(device: DeviceHistory, stories: Stories) -> Iterator[Violation]:
    """Every order had its effect once, and no tool call that had finished was carried out again."""
    name = device.principal
    yield from _check_ends(name, stories)
    done = Counter(device.ledger)
    for call, story in sorted(stories.calls.items()):
        if story.is_repeated:
            yield Violation("repeated_call", name, f"call {_at(call)} was begun again after its result")
        if story.is_otherwise:
            yield Violation("repeated_call", name, f"call {_at(call)} became another one")
        if story.is_after_end:
            yield Violation("order_effect", name, f"call {_at(call)} was begun when its node had ended")
        if story.is_answered_again:
            yield Violation(
                "order_effect", name, f"call {_at(call)} was answered twice, and asked about once"
            )
        if story.results > 1:
            yield Violation("repeated_call", name, f"call {_at(call)} has {story.results} results")
        if done[call] > story.intents:
            what = f"call {_at(call)} was carried out {done[call]} times on {story.intents} intents"
            yield Violation("repeated_call", name, what)
        if not story.is_idempotent and done[call] > 1:
            what = f"call {_at(call)} must happen once; it did {done[call]} times"
            yield Violation("repeated_call", name, what)
        if story.ok and not done[call] and story.tool not in LOOKS:
            yield Violation("claimed_call", name, f"call {_at(call)} has a result and was never carried out")
    for call in sorted(done.keys() - stories.calls.keys()):
        yield Violation("repeated_call", name, f"call {_at(call)} was carried out without an intent")
    if not any(
        log.gaps for log in (*device.written, *device.orders)
    ):  # or the answer may be what was not seen
        for call in sorted(call for call, story in stories.calls.items() if story.is_unanswered):
            yield Violation("order_effect", name, f"call {_at(call)} went on, and nobody had answered")
    for place in stories.revived:
        yield Violation("order_effect", name, f"node {_at(place)} went on after its end")
    for call in stories.unasked:
        yield Violation("order_effect", name, f"call {_at(call)} was answered, and nobody had asked")
    for log in device.written:
        if log.gaps:
            continue  # what was not seen may have been the beginning
        for seq in sorted(stories.homeless[log.lane] - stories.replies[log.lane]):
            yield Violation("order_effect", name, f"record {seq} speaks of what the device does not know")


def _check_ends(name: str, stories: Stories) -> Iterator[Violation]:
    """The last attempt of each node ended once. One that was taken back for another may not have ended at all."""
    attempts = {(task, 0): 1 for task in stories.created} | stories.offered
    for (task, node), attempt in sorted(attempts.items()):
        ends = stories.ends[task, node, attempt]
        if ends != 1:
            yield Violation("order_effect", name, f"node {_at((task, node))} ended {ends} times")
    for (task, node, attempt), ends in sorted(stories.ends.items()):
        last = attempts.get((task, node))
        if last is None or attempt > last:
            what = f"node {_at((task, node))} was worked on, and nobody had asked for it"
            yield Violation("order_effect", name, what)
        elif attempt < last and ends > 1:
            what = f"attempt {attempt} of node {_at((task, node))} ended {ends} times"
            yield Violation("order_effect", name, what)


def check_tables(
    device: DeviceHistory, held: HubDevice, stories: Stories, at_hub: Stories
) -> Iterator[Violation]:
    """The tables on both sides say what the logs that this side holds say."""
    where = f"{device.principal} at the device"
    yield from _check_nodes(where, stories.nodes, device.nodes, may_forget=True)
    where = f"{device.principal} at the hub"
    if not device.cloned:
        for place in sorted(held.given_up):
            yield Violation("projection", where, f"node {_at(place)} was given up, and nothing was lost")
    for place, facts in sorted(held.nodes.items()):
        if facts.state not in TERMINAL:
            what = f"node {_at(place)} is shown as {facts.state}, and its device has nothing to do"
            yield Violation("stuck", where, what)
    known = {place: facts for place, facts in at_hub.nodes.items() if place not in held.given_up}
    shown = {
        place: replace(facts, state=NodeState.OFFERED) if facts.state is NodeState.QUEUED else facts
        for place, facts in held.nodes.items()
        if place not in held.given_up
    }  # whether an offer has arrived is in no log
    yield from _check_nodes(where, known, shown)
    expected = {call: story.facts() for call, story in at_hub.calls.items()}
    for call in sorted(expected.keys() | held.effects.keys()):
        if expected.get(call) != held.effects.get(call):
            what = f"call {_at(call)} is shown as {held.effects.get(call)}, the log says {expected.get(call)}"
            yield Violation("projection", where, what)


def _check_nodes(
    where: str,
    expected: Mapping[Place, NodeFacts],
    shown: Mapping[Place, NodeFacts],
    *,
    may_forget: bool = False,
) -> Iterator[Violation]:
    """With `may_forget` what has ended need not be shown any more: a device keeps only so much of its past."""
    for place in sorted(expected.keys() | shown.keys()):
        said, seen = expected.get(place), shown.get(place)
        if may_forget and seen is None and said is not None and said.state in TERMINAL:
            continue
        if said != seen:
            what = f"node {_at(place)} is shown as {seen}, the logs say {said}"
            yield Violation("projection", where, what)


def check_dead_letters(held: HubDevice, at_hub: Stories, history: History) -> Iterator[Violation]:
    """The hub could apply every record, but for those of what a restored backup no longer knows."""
    where = f"{held.principal} journal"
    for log in held.logs:
        if log.lane.lane is not Lane.JOURNAL:
            continue
        explained = at_hub.homeless[log.lane] if history.restores else set()
        for seq in sorted(log.dead - explained):
            yield Violation("dead_letter", where, f"record {seq} could not be applied")


def _at(place: Sequence[object] | Call) -> str:
    return "/".join(str(part) for part in place)
