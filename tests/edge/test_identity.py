"""Enrolment before anything is sent: addresses that are none, and a clock by which the hub is not valid."""

import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.identity import Identity as HubIdentity
from cloud.identity import open_identity
from edge.identity import enrol
from shared.enrolment import Token
from shared.errors import ConfigError

TOKEN = Token(url="https://hub.example.org:8443", ca=bytes(32), id="a" * 16, secret=bytes(32)).text()


@pytest.mark.parametrize(
    "url", ["https://example..com", "https://[::1", "http://127.0.0.1:1", "hub.example.org", "https://"]
)
def test_an_address_that_is_none_is_said_in_one_sentence(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no address of a hub"):
        enrol(tmp_path, token_text=TOKEN, device=None, hub_url=url)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def serving(hub: HubIdentity) -> Iterator[str]:
    """The hub's certificates over HTTPS, and nothing else of it; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(hub.ca_pem.encode())

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(hub.paths.server, hub.paths.server_key)
    with HTTPServer(("localhost", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("years", [-40, 40], ids=["ended", "begins-later"])
def test_a_clock_by_which_the_hub_is_not_valid_is_blamed_and_not_the_network(
    years: int, tmp_path: Path
) -> None:
    at = datetime.now(UTC) + timedelta(days=365 * years)
    hub = open_identity(tmp_path / "hub", hosts=["localhost"], trust_domain="t", now=at)
    ca = hashlib.sha256(hub.root.public_bytes(Encoding.DER)).digest()
    with serving(hub) as url:
        token = Token(url=url, ca=ca, id="a" * 16, secret=bytes(32)).text()
        with pytest.raises(ConfigError, match="set the clock") as refused:
            enrol(tmp_path / "device", token_text=token, device=None, hub_url=None)
    assert refused.value.code == "clock"
    assert not (tmp_path / "device").exists()
