"""Names and identifiers are safe wherever they end up: topics, certificates, file names."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.ids import EVERYONE, HUB, ID_PATTERN, ID_RANDOM_BYTES, UPWARD, Lane, Principal, id_from_random

TENANTS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,23}", fullmatch=True)
DEVICES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,38}", fullmatch=True)


@given(TENANTS, DEVICES)
@pytest.mark.slow
def test_a_principal_reads_back_what_it_prints(tenant: str, device: str) -> None:
    """P15: the principal is one level of a topic."""
    principal = Principal.parse(f"{tenant}.{device}")
    assert (principal.tenant, principal.device) == (tenant, device)
    assert str(principal) == f"{tenant}.{device}"
    assert len(str(principal)) <= 64


@given(st.text(max_size=80))
def test_no_other_text_is_a_principal(text: str) -> None:
    """P15."""
    try:
        principal = Principal.parse(text)
    except ProtocolError:
        return
    assert str(principal) == text
    assert set(text) <= set(string.ascii_lowercase + string.digits + "-.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acme",
        HUB,
        EVERYONE,
        "acme.",
        ".fridge",
        "acme.fridge.1",
        "Acme.fridge",
        "-acme.fridge",
        "acme.-fridge",
        "acme.+",
        "acme.#",
        "acme.fridge/1",
        "acme.fridge\n",
        "acme.fridge\x00",
        "acme.\N{KELVIN SIGN}elvin",
        "acme.fridge\N{ARABIC-INDIC DIGIT ONE}",
        f"{'t' * 25}.fridge",
        f"acme.{'d' * 40}",
    ],
)
def test_a_name_that_could_leave_its_place_is_refused(text: str) -> None:
    """P15."""
    with pytest.raises(ProtocolError):
        Principal.parse(text)


def test_the_longest_principal_fits_a_common_name() -> None:
    """P15."""
    assert len(str(Principal.parse(f"{'t' * 24}.{'d' * 39}"))) == 64


def test_a_device_writes_every_lane_but_orders() -> None:
    """P1."""
    assert set(Lane) - set(UPWARD) == {Lane.ORDERS}


@given(st.binary(min_size=ID_RANDOM_BYTES, max_size=ID_RANDOM_BYTES))
def test_every_random_id_has_the_id_pattern(random: bytes) -> None:
    assert re.fullmatch(ID_PATTERN, id_from_random(random))


def test_an_id_keeps_every_bit_of_its_randomness() -> None:
    made = {id_from_random((1 << bit).to_bytes(ID_RANDOM_BYTES, "big")) for bit in range(8 * ID_RANDOM_BYTES)}
    assert len(made) == 8 * ID_RANDOM_BYTES


@pytest.mark.parametrize("size", [0, ID_RANDOM_BYTES - 1, ID_RANDOM_BYTES + 1])
def test_an_id_is_made_from_exactly_so_many_random_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="random bytes"):
        id_from_random(bytes(size))
