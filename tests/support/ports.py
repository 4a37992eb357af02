"""Free TCP ports of 127.0.0.1, from below those that the kernel gives to outgoing connections.

A port of the kernel's own choice may be anybody's outgoing one by the time a server binds it, or binds it again after
a restart. Nobody is given these but who asks for them.
"""

import random
import socket
from contextlib import ExitStack
from typing import Final

FIRST_PORT: Final = 15_000
END_PORT: Final = 32_768
"""Linux gives out ports from here on (`net.ipv4.ip_local_port_range`)."""


def free_port() -> int:
    """A port that was free a moment ago. Nobody keeps it reserved: bind it soon."""
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, ...]:
    """Different free ports: all are held open together while they are chosen."""
    with ExitStack() as held:
        ports: list[int] = []
        # Several runs on one machine choose at the same time, so none begins at the same place.
        for port in random.SystemRandom().sample(range(FIRST_PORT, END_PORT), END_PORT - FIRST_PORT):
            sock = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                break
        return tuple(ports)


def accepts(port: int, *, timeout_s: float = 0.5) -> bool:
    """Whether something on 127.0.0.1 accepts connections on `port`. Blocks at most `timeout_s`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        return sock.connect_ex(("127.0.0.1", port)) == 0
