"""What a person asks for travels in an address, and an address can say nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.dashboard.query import PAGE_MAX, TEXT_MAX_CHARS, FleetQuery, Only, Sort

texts = st.text(max_size=TEXT_MAX_CHARS)
queries = st.builds(
    FleetQuery,
    text=texts,
    presence=texts,
    site=texts,
    group=texts,
    only=st.none() | st.sampled_from(Only),
    sort=st.sampled_from(Sort),
    is_descending=st.booleans(),
    page=st.integers(1, PAGE_MAX),
)


@given(queries)
@pytest.mark.slow
def test_an_address_brings_back_what_was_asked(query: FleetQuery) -> None:
    assert FleetQuery.from_address(query.to_address(), query.tenant) == query


@given(st.dictionaries(st.sampled_from(["text", "only", "sort", "order", "page", "site", "x"]), st.text()))
@pytest.mark.slow
def test_any_address_is_understood_as_far_as_it_can_be(values: dict[str, str]) -> None:
    query = FleetQuery.from_address(values, None)
    assert 1 <= query.page <= PAGE_MAX
    assert len(query.text) <= TEXT_MAX_CHARS


def test_an_address_without_wishes_is_empty() -> None:
    assert FleetQuery(tenant=None).to_address() == {}
    assert FleetQuery.from_address({"page": "0", "sort": "color", "only": "mine"}, None) == FleetQuery(
        tenant=None
    )


@pytest.mark.parametrize("page", ["-1", "1e3", "٣", "9" * 5_000, "", "1.5"])
def test_a_page_that_is_no_number_is_the_first(page: str) -> None:
    assert FleetQuery.from_address({"page": page}, None).page == 1


def test_the_same_column_turns_around_and_another_begins_with_what_matters_most() -> None:
    query = FleetQuery(tenant=None, page=7)
    assert query.sorted_by(Sort.NAME) == FleetQuery(tenant=None, is_descending=True)
    by_lag = query.sorted_by(Sort.LAG)
    assert (by_lag.sort, by_lag.is_descending, by_lag.page) == (Sort.LAG, True, 1)
    assert by_lag.sorted_by(Sort.LAG).is_descending is False
    assert by_lag.sorted_by(Sort.NAME) == FleetQuery(tenant=None)


def test_order_and_page_are_no_filters() -> None:
    assert not FleetQuery(tenant=None, sort=Sort.LAG, is_descending=True, page=3).is_filtered
    for filtered in (
        FleetQuery(tenant=None, text="x"),
        FleetQuery(tenant=None, presence="lost"),
        FleetQuery(tenant=None, only=Only.BEHIND),
        replace(FleetQuery(tenant=None), site="berlin"),
    ):
        assert filtered.is_filtered
