"""A candidate over what the fleet really did: which decisions would be others."""

from datetime import datetime
from typing import Final

from sqlmodel import Session, select

from cloud.devices.tables import Device
from cloud.governance.replay import JournalReplay, Totals
from cloud.governance.schemas import Flip, SimulationView
from cloud.journal import repository as logs
from shared.ids import Lane
from shared.policy.bundle import Bundle
from shared.policy.decisions import DeviceFacts
from shared.policy.monitor import monitor_of

FLIPS_MAX: Final = 500


def simulate(session: Session, bundle: Bundle, *, tenant: str, since: datetime) -> SimulationView:
    """Ask the candidate about every action that the tenant's devices recorded since a moment.

    Raises `CapacityError` beyond `DECISIONS_MAX`, `BundleError` for rules that cannot be read.
    """
    totals = Totals()
    devices = session.exec(select(Device).where(Device.tenant == tenant).order_by(Device.principal)).all()
    for device in devices:
        facts = DeviceFacts(
            principal=device.principal,
            name=device.name,
            site=device.site or "",
            labels=frozenset(f"{key}={value}" for key, value in device.labels.items()),
        )
        monitor = monitor_of(bundle, facts)
        for lane in logs.lanes_of(session, device.principal):
            if lane.lane == Lane.JOURNAL:
                JournalReplay(session, bundle, monitor, facts, totals).over(lane, since)
    ordered = sorted(totals.flips.items(), key=lambda each: (-each[1].count, each[0]))
    return SimulationView(
        package=bundle.package.name,
        version=bundle.version,
        sha256=bundle.hash.hex(),
        since=since,
        devices=len(devices),
        decisions=totals.decisions,
        unknown=totals.unknown,
        flipped=sum(tally.count for tally in totals.flips.values()),
        flips=[
            Flip(
                tool=tool,
                was=was,
                was_rule=was_rule,
                would=would,
                rule=rule,
                count=tally.count,
                examples=tally.examples,
            )
            for (tool, was, was_rule, would, rule), tally in ordered[:FLIPS_MAX]
        ],
    )
