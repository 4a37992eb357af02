"""Free ports are free, and different from one another."""

import socket

from tests.support.ports import accepts, free_port, free_ports


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))


def test_port_accepts_only_while_somebody_listens() -> None:
    port = free_port()
    assert not accepts(port)
    with socket.create_server(("127.0.0.1", port)):
        assert accepts(port)
    assert not accepts(port)
