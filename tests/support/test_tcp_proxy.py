"""The bad network behaves as tests of bad networks expect."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from random import Random

import pytest

from tests.support.tcp_proxy import Direction, Link, Network

TIMEOUT_S = 10.0
SILENCE_S = 0.05


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(Random(1)) as running:
        yield running


class Listener:
    """The target: gives out the connections that arrive."""

    def __init__(self) -> None:
        self._sock = socket.create_server(("127.0.0.1", 0))
        self._sock.settimeout(TIMEOUT_S)
        self.port = int(self._sock.getsockname()[1])

    def accept(self) -> socket.socket:
        connection, _ = self._sock.accept()
        connection.settimeout(TIMEOUT_S)
        return connection

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with closing(Listener()) as made:
        yield made


@pytest.fixture
def link(network: Network, listener: Listener) -> Link:
    return network.link(listener.port)


def connected(link: Link, listener: Listener) -> tuple[socket.socket, socket.socket]:
    client = socket.create_connection(("127.0.0.1", link.port), timeout=TIMEOUT_S)
    return client, listener.accept()


def received(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def until_reset(sock: socket.socket) -> bytes:
    """What arrives before a reset; an orderly end is a failure."""
    got = b""
    try:
        while piece := sock.recv(1):
            got += piece
    except ConnectionResetError:
        return got
    pytest.fail("the connection ended in order")


def assert_refused(link: Link) -> None:
    """By a reset, which may come already while `connect` returns."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect(("127.0.0.1", link.port))
        except ConnectionResetError:
            return
        assert until_reset(client) == b""


def is_silent(sock: socket.socket) -> bool:
    """Neither bytes nor an end, for a moment."""
    sock.settimeout(SILENCE_S)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(TIMEOUT_S)
    return False


def test_bytes_and_ends_pass_in_both_directions(link: Link, listener: Listener) -> None:
    client, server = connected(link, listener)
    with client, server:
        payload = bytes(range(256)) * 4_096
        sender = threading.Thread(target=client.sendall, args=(payload,))
        sender.start()
        assert received(server, len(payload)) == payload
        sender.join(TIMEOUT_S)
        server.sendall(b"answer")
        server.shutdown(socket.SHUT_WR)
        assert received(client, 100) == b"answer"


def test_a_cut_leaves_a_part_and_resets_both_ends(link: Link, listener: Listener) -> None:
    client, server = connected(link, listener)
    with client, server:
        link.cut(Direction.UP, after_bytes=3)
        client.sendall(b"abcdef")
        assert until_reset(client) == b""
        assert b"abc".startswith(until_reset(server))


def test_late_bytes_keep_their_order(link: Link, listener: Listener) -> None:
    client, server = connected(link, listener)
    with client, server:
        link.delay(latency_s=0.001, jitter_s=0.01)
        for number in range(20):
            client.sendall(bytes([number]))
        assert received(server, 20) == bytes(range(20))


@pytest.mark.slow
def test_a_black_hole_keeps_both_ends_open_and_spares_new_connections(link: Link, listener: Listener) -> None:
    client, server = connected(link, listener)
    link.black_hole()
    client.sendall(b"lost")
    server.sendall(b"lost too")
    assert is_silent(client)
    assert is_silent(server)
    client.close()
    assert is_silent(server)
    again, server_again = connected(link, listener)
    with again, server_again, server:
        again.sendall(b"heard")
        assert received(server_again, 5) == b"heard"


def test_answers_alone_can_be_lost(link: Link, listener: Listener) -> None:
    client, server = connected(link, listener)
    with client, server:
        link.black_hole(Direction.DOWN)
        client.sendall(b"request")
        assert received(server, 7) == b"request"
        server.sendall(b"answer")
        assert is_silent(client)


def test_what_is_held_arrives_after_its_sender_has_gone_and_another_has_come(
    link: Link, listener: Listener
) -> None:
    client, server = connected(link, listener)
    with server:
        link.hold(Direction.UP)
        client.sendall(b"late")
        client.close()
        again, server_again = connected(link, listener)
        with again, server_again:
            again.sendall(b"new")
            assert received(server_again, 3) == b"new"
        assert is_silent(server)
        link.release()
        assert received(server, 100) == b"late"


def test_a_closed_link_refuses_until_it_is_opened(link: Link, listener: Listener) -> None:
    link.close()
    assert_refused(link)
    link.open()
    client, server = connected(link, listener)
    with client, server:
        client.sendall(b"!")
        assert received(server, 1) == b"!"


def test_a_target_that_is_away_looks_like_a_reset(network: Network, listener: Listener) -> None:
    link = network.link(listener.port)
    listener.close()
    assert_refused(link)
