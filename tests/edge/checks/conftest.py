"""A device's home for the doctor: enrolled at a hub that does not run."""

from pathlib import Path

import pytest

from cloud.identity import Identity as HubIdentity
from cloud.identity import open_identity
from edge.checks.subject import Subject
from edge.settings import EdgeSettings
from tests.support.clock import ManualClock
from tests.support.enrolled import enrol_at


@pytest.fixture
def hub(tmp_path: Path, clock: ManualClock) -> HubIdentity:
    """The authority of the hub that enrolled the device."""
    return open_identity(
        tmp_path / "hub", hosts=["localhost"], trust_domain="covey.internal", now=clock.now()
    )


@pytest.fixture
def alone(tmp_path: Path, clock: ManualClock) -> Subject:
    """A device that is not enrolled and was never started."""
    home = tmp_path / "device"
    home.mkdir(mode=0o700)
    settings = EdgeSettings(home=home, models_dir=tmp_path / "models", index="off")
    return Subject(settings=settings, clock=clock, version="1.2.3")


@pytest.fixture
def enrolled(alone: Subject, hub: HubIdentity, clock: ManualClock) -> Subject:
    identity = enrol_at(hub, alone.settings.identity_dir, now=clock.now())
    return Subject(settings=alone.settings, clock=clock, version="1.2.3", identity=identity)
