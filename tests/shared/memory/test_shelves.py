"""Every site has a collection of its own, and a collection tells of which scope it is."""

import re

import pytest

from shared.ids import COLLECTION_PATTERN
from shared.memory.shelves import collection_of, scope_of


@pytest.mark.parametrize("site", ["north", "North", "a.b", "x" * 36, "x" * 37, "x" * 64, "-", "9_Z"])
def test_every_site_has_a_collection_of_its_own(site: str) -> None:
    assert re.match(COLLECTION_PATTERN, collection_of("site", site))


def test_sites_that_look_alike_have_different_collections() -> None:
    sites = ["north", "North", "NORTH", "north.", "north-", "x" * 36, "x" * 37, "x" * 38]
    assert len({collection_of("site", site) for site in sites}) == len(sites)
    assert collection_of("site", "north") == "site-memory-north"
    assert collection_of("fleet", "north") == "fleet-memory"


@pytest.mark.parametrize("site", ["north", "North", "x" * 64])
def test_the_scope_of_a_collection_is_that_of_what_stands_in_it(site: str) -> None:
    assert scope_of(collection_of("site", site)) == "site"
    assert scope_of(collection_of("fleet", None)) == "fleet"
    assert scope_of("manuals") == "device"
