"""From where a request comes, and how large a part of the network that stands for. Pure.

`X-Forwarded-For` is written by whoever sends the request, so it counts only if it comes from a proxy that the
operator has named (`trusted_proxies`), and only as far as named proxies wrote it: its entries are read from the right,
and the first one that is no named proxy is the client.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

IPV6_NETWORK_BITS: Final = 64
"""What one customer is given at least (RFC 6177)."""
HOPS_MAX: Final = 16
"""Entries of `X-Forwarded-For` that are read."""


class ClientAddresses:
    """Tells the client's address behind the proxies that the operator named."""

    def __init__(self, trusted_proxies: Sequence[str] = ()) -> None:
        """Addresses or networks (`10.0.0.0/8`). Raises `ValueError` for what is neither."""
        self._trusted = tuple(ipaddress.ip_network(each, strict=False) for each in trusted_proxies)

    def of(self, peer: str, forwarded: Sequence[str]) -> str:
        """`peer`: who opened the connection; `forwarded`: the values of all `X-Forwarded-For` headers, in order.

        What cannot be understood ends the reading: then the proxy that passed it on is the client.
        """
        current = _parsed(peer)
        if current is None:
            return peer
        hops = [hop.strip() for value in forwarded for hop in value.split(",")] if self._trusted else []
        for hop in hops[: -HOPS_MAX - 1 : -1]:
            following = _parsed(hop) if self._is_trusted(current) else None
            if following is None:
                break
            current = following
        return str(current)

    def trusts(self, peer: str) -> bool:
        """Whether the operator named it as a proxy."""
        address = _parsed(peer)
        return address is not None and self._is_trusted(address)

    def _is_trusted(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)


def place_of(address: str) -> str:
    """What is counted as one sender: an IPv4 address, or an IPv6 network; other text (a socket's name) as it is."""
    parsed = _parsed(address)
    if parsed is None or parsed.version == 4:
        return address if parsed is None else str(parsed)
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))


def _parsed(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        # ::ffff:192.0.2.1 is what a socket for both calls an IPv4 client. A zone is of this machine's only.
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address
