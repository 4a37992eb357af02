"""How many connections a listener of the hub may hold, and for how long in silence. Values; see `cloud.connections`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """`max`: open at a time; `per_address_max`: of them from one address (IPv6: network of 64 bits).

    `head_timeout_s`: for the handshake and the first request head, and for each further one.
    """

    max: int = 800
    per_address_max: int = 200
    head_timeout_s: float = 15.0
    trusted_proxies: tuple[str, ...] = ()
