"""Libraries that are missing or too old are named; what another extra needs is none of ours."""

from importlib.metadata import PackageNotFoundError, requires

import pytest

from shared.requirements import unmet_requirements

REQUIREMENTS = (
    "cbor2>=6",
    "paho-mqtt>=2.1; extra == 'edge'",
    'psycopg[binary]>=3.2; extra == "cloud"',
    "uvicorn >= 0.40 ; extra == 'cloud'",
)
INSTALLED = {"cbor2": "6.0.1", "psycopg": "3.2", "uvicorn": "0.41.0"}


def test_what_every_installation_and_the_extra_need_is_looked_at_and_nothing_else() -> None:
    assert unmet_requirements(REQUIREMENTS, extra="cloud", installed=INSTALLED.get) == []
    assert unmet_requirements(REQUIREMENTS, extra="edge", installed=INSTALLED.get) == [
        "paho-mqtt is not installed, needs at least 2.1"
    ]


@pytest.mark.parametrize(
    ("found", "is_met"),
    [
        ("3.2", True),
        ("3.2.0", True),
        ("3.10", True),
        ("4", True),
        ("3.2rc1", True),
        ("3.1.99", False),
        ("3", False),
    ],
)
def test_versions_are_compared_by_their_numbers(found: str, is_met: bool) -> None:
    unmet = unmet_requirements(["psycopg[binary]>=3.2"], extra="cloud", installed={"psycopg": found}.get)
    assert unmet == ([] if is_met else [f"psycopg {found}, needs at least 3.2"])


def test_the_distribution_s_own_requirements_are_understood() -> None:
    try:
        own = requires("covey") or []
    except PackageNotFoundError:  # run from a tree that is not installed
        own = list(REQUIREMENTS)
    for extra in ("edge", "cloud"):
        missing = unmet_requirements(own, extra=extra, installed=lambda _library: None)
        assert len(missing) > 1
