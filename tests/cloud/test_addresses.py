"""From where a request comes: proxies are believed as far as the operator named them."""

import pytest

from cloud.addresses import ClientAddresses, place_of


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ((), "192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        (("10.0.0.0/8",), "192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        (("10.0.0.0/8",), "10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        # What the client wrote itself stands to the left of what the proxy wrote.
        (("10.0.0.0/8",), "10.0.0.1", ["198.51.100.7, 203.0.113.9"], "203.0.113.9"),
        (("10.0.0.0/8",), "10.0.0.1", ["198.51.100.7", "203.0.113.9"], "203.0.113.9"),
        (("10.0.0.0/8",), "10.0.0.1", ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (("10.0.0.0/8",), "10.0.0.1", ["203.0.113.9, junk"], "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", [""], "10.0.0.1"),
        (("10.0.0.0/8",), "10.0.0.1", [], "10.0.0.1"),
        (("2001:db8::/32",), "2001:db8::1", ["203.0.113.9"], "203.0.113.9"),
        (("127.0.0.1",), "::ffff:127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        (("127.0.0.1",), "a-socket", ["203.0.113.9"], "a-socket"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_named_proxy(
    trusted: tuple[str, ...], peer: str, forwarded: list[str], client: str
) -> None:
    assert ClientAddresses(trusted).of(peer, forwarded) == client


def test_only_so_many_hops_are_read() -> None:
    hops = ", ".join(["203.0.113.9"] + ["10.0.0.2"] * 1_000)
    assert ClientAddresses(["10.0.0.0/8"]).of("10.0.0.1", [hops]) == "10.0.0.2"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_network_is_one_sender(address: str, place: str) -> None:
    assert place_of(address) == place


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="junk"):
        ClientAddresses(["junk"])
