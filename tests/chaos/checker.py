"""What must be true of the histories after everything has drained. Pure: values in, violations out.

It trusts nobody's bookkeeping: chains are recomputed, and what the tables should show is derived anew from the records.
Devices are judged one after another, and logs are gone through, not held, so a run may be of any length. Must not know
how histories are read, which faults there were, or what is a device process.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.check_logs import check_logs
from tests.chaos.check_work import check_dead_letters, check_tables, check_work, device_stories, hub_stories
from tests.chaos.evidence import DeviceHistory, History, HubDevice
from tests.chaos.stories import Stories
from tests.chaos.violations import Violation, bounded


@dataclass(frozen=True, slots=True)
class Findings:
    """`records`: journal records that devices have committed. `interrupted_calls`: begun again, or asked about."""

    violations: tuple[Violation, ...]
    records: int
    interrupted_calls: int


def check(history: History) -> Findings:
    """Everything that must be true of every history."""
    found: list[Violation] = []
    records = interrupted = 0
    said: set[str] = set()
    may_be_late = bool(history.restores)
    for device, held in history.devices:
        if held is None:
            found.append(Violation("lost_device", device.principal, "the hub does not know it"))
            continue
        may_be_late |= bool(device.cloned)
        stories = device_stories(device)
        records += stories.records
        interrupted += sum(story.intents + story.asked > 1 for story in stories.calls.values())
        at_hub = hub_stories(held)
        said |= at_hub.created | {task for task, _ in at_hub.offered}
        found += _check_device(device, held, stories, at_hub, history)
    found += _check_hub(history, said)
    if history.hub.late_results and not may_be_late:
        # Nobody's lease lapses in these runs, and nobody does work twice, so nothing can be late.
        what = f"{history.hub.late_results} late results of nodes that nobody took away"
        found.append(Violation("projection", "hub", what))
    return Findings(tuple(bounded(found)), records, interrupted)


def _check_device(
    device: DeviceHistory, held: HubDevice, stories: Stories, at_hub: Stories, history: History
) -> Iterator[Violation]:
    name = device.principal
    if held.status != "active":
        yield Violation("quarantined", name, f"the hub has made it {held.status}")
    for problem in held.unsound:
        yield Violation("unsound", name, problem)
    for difference in device.rebuilt:
        yield Violation("projection", f"{name} at the device", difference)
    yield from check_logs(device, held, history)
    yield from check_work(device, stories)
    yield from check_tables(device, held, stories, at_hub)
    yield from check_dead_letters(held, at_hub, history)


def _check_hub(history: History, said: set[str]) -> Iterator[Violation]:
    """`said`: tasks of which the hub's own copies of the logs speak."""
    hub = history.hub
    for task, era in sorted(history.promised):
        is_kept = all(task in restore.tasks for restore in history.restores[era:])
        if task not in hub.tasks and is_kept:
            yield Violation("broken_promise", "hub", f"task {task} was confirmed and is not there")
    for task in sorted(hub.tasks ^ said):
        side = "the hub only" if task in hub.tasks else "the logs only"
        yield Violation("projection", "hub", f"task {task} is in {side}")
    for difference in hub.rebuilt:
        yield Violation("projection", "hub", difference)
