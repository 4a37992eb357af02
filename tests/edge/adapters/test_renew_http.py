"""What a device hears of the hub's `POST /v1/renew` over real TLS: answers, refusals, certificates of other years."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from edge.adapters.peer_dates import hub_dates
from edge.adapters.renew_http import ANSWER_MAX_BYTES, post_fetch, post_renewal
from shared.errors import ConfigError, ProtocolError, RefusedError, UnavailableError
from tests.support.certificates import Authority, Leaf
from tests.support.ports import free_port

Answer = Callable[[bytes], tuple[int, bytes]]


@contextmanager
def server(leaf: Leaf, answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = answer(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Quiet."""

    class Quiet(HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that does not like our certificate is what these tests are about."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate, leaf.key)
    listener = Quiet(("127.0.0.1", 0), Handler)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def problem(status: int, code: str) -> Answer:
    body = json.dumps({"code": code, "message": "A sentence."}).encode()
    return lambda _body: (status, body)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def test_the_answer_is_what_the_hub_said(authority: Authority) -> None:
    with server(authority.issue("hub"), lambda body: (200, b"you said " + body)) as url:
        assert post_renewal(url, authority.path, b"renew") == b"you said renew"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "renewal_refused", RefusedError),
        (400, "csr_invalid", RefusedError),
        (404, "not_found", RefusedError),
        (429, "renewed_lately", UnavailableError),
        (503, "hub_clock", UnavailableError),
    ],
)
def test_a_refusal_keeps_the_hubs_code(
    status: int, code: str, kind: type[RefusedError | UnavailableError], authority: Authority
) -> None:
    with (
        server(authority.issue("hub"), problem(status, code)) as url,
        pytest.raises(kind, match="A sentence") as refused,
    ):
        post_renewal(url, authority.path, b"renew")
    assert refused.value.code == code


def test_what_a_revision_needs_comes_the_same_way_and_may_be_larger(authority: Authority) -> None:
    large = bytes(ANSWER_MAX_BYTES + 1)
    with server(authority.issue("hub"), lambda _body: (200, large)) as url:
        assert post_fetch(url, authority.path, b"fetch") == large
        with pytest.raises(ProtocolError, match="larger than"):
            post_renewal(url, authority.path, b"renew")


def test_an_answer_at_the_bound_is_taken(authority: Authority) -> None:
    fits = bytes(ANSWER_MAX_BYTES)
    with server(authority.issue("hub"), lambda _body: (200, fits)) as url:
        assert post_renewal(url, authority.path, b"renew") == fits


def test_a_refused_fetch_keeps_the_hubs_code(authority: Authority) -> None:
    with (
        server(authority.issue("hub"), problem(404, "revision_unknown")) as url,
        pytest.raises(RefusedError, match="A sentence") as refused,
    ):
        post_fetch(url, authority.path, b"fetch")
    assert refused.value.code == "revision_unknown"


def test_a_refusal_that_is_no_answer_of_a_hubs_is_one_sentence(authority: Authority) -> None:
    with (
        server(authority.issue("hub"), lambda _body: (418, b"<html>")) as url,
        pytest.raises(RefusedError, match="refused to renew"),
    ):
        post_renewal(url, authority.path, b"renew")


@pytest.mark.parametrize("year", [2010, 2090])
def test_a_hub_with_a_certificate_of_another_year_is_not_believed_and_the_clock_is_named(
    year: int, authority: Authority
) -> None:
    span = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    heard: list[bytes] = []

    def answer(body: bytes) -> tuple[int, bytes]:
        heard.append(body)
        return 200, b""

    with server(authority.issue("hub", span=span), answer) as url:
        with pytest.raises(UnavailableError) as unavailable:
            post_renewal(url, authority.path, b"renew")
        assert unavailable.value.code == "clock"
        assert hub_dates(url, authority.path) == span
    assert heard == [], "nothing was sent to it"


def test_a_hub_of_another_authority_is_not_believed_and_its_dates_are_not_asked(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "other", "another CA")
    with server(stranger.issue("hub"), lambda _body: (200, b"")) as url:
        with pytest.raises(ProtocolError, match="no certificate of this device's hub"):
            post_renewal(url, authority.path, b"renew")
        assert hub_dates(url, authority.path) is None


def test_where_nobody_answers_it_is_said(authority: Authority) -> None:
    url = f"https://127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match="does not answer"):
        post_renewal(url, authority.path, b"renew")
    assert hub_dates(url, authority.path) is None


def test_only_https_is_spoken(authority: Authority) -> None:
    with pytest.raises(ConfigError, match="no address"):
        post_renewal("http://127.0.0.1:1", authority.path, b"renew")
