"""An OpenTelemetry collector on a real port: takes OTLP/HTTP, decodes the protobuf, and keeps every byte of it.

with collecting() as collector:
    traces = OtlpTraces(url=collector.url, version="0.1.0")
    traces.offer(spans)
    assert collector.wait_for_spans(1)[0].name == "chat scripted"
"""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 60.0


@dataclass(frozen=True)
class CollectedSpan:
    """A span as it arrived; ids in hexadecimal, `resource` and `attributes` as plain values."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    is_error: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """`status` is what it answers. `raw` is everything it was sent, unpacked, whether it took it or not."""

    url: str
    status: int = 200
    raw: bytes = b""
    requests: int = 0
    spans: list[CollectedSpan] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for_spans(self, count: int) -> list[CollectedSpan]:
        """So many spans, in the order in which they came. Blocks."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.spans) >= count, WAIT_S), self.spans
            return list(self.spans)

    def take(self, path: str, body: bytes, headers: Any) -> int:
        unpacked = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        with self.changed:
            self.requests += 1
            self.raw += unpacked
            if self.status == 200:
                assert path == "/v1/traces"
                assert headers["content-type"] == "application/x-protobuf"
                self.spans += _decoded(unpacked)
            self.changed.notify_all()
            return self.status


@contextmanager
def collecting(*, status: int = 200) -> Iterator[Collector]:
    """Listens until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(collector.take(self.path, body, self.headers))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parameter's name is the library's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(url=f"http://127.0.0.1:{server.server_address[1]}", status=status)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="collector", daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join(WAIT_S)
        server.server_close()


def _decoded(body: bytes) -> Iterator[CollectedSpan]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Status

    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield CollectedSpan(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    is_error=span.status.code == Status.STATUS_CODE_ERROR,
                    attributes=_plain(span.attributes),
                    resource=_plain(resource.resource.attributes),
                )


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)
