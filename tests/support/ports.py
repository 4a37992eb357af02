"""Free TCP ports of 127.0.0.1."""

import socket
from contextlib import ExitStack


def free_port() -> int:
    """A port that was free a moment ago. Nobody keeps it reserved: bind it soon."""
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, ...]:
    """Different free ports: all are held open together while they are chosen."""
    with ExitStack() as held:
        ports = []
        for _ in range(count):
            sock = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            sock.bind(("127.0.0.1", 0))
            ports.append(int(sock.getsockname()[1]))
        return tuple(ports)


def accepts(port: int, *, timeout_s: float = 0.5) -> bool:
    """Whether something on 127.0.0.1 accepts connections on `port`. Blocks at most `timeout_s`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        return sock.connect_ex(("127.0.0.1", port)) == 0
