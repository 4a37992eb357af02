"""Spans to a collector over OTLP/HTTP, with OpenTelemetry's exporter. One thread, begun with the first span.

The exporter tries for `timeout_s` with back-off; what it cannot deliver by then is dropped and counted, and so is what
comes while the backlog is full. It honours the standard's variables for headers and certificates, which are
OTEL_EXPORTER_OTLP_HEADERS and OTEL_EXPORTER_OTLP_CERTIFICATE; nothing of the environment gets into what is sent.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shared.spans import Span, SpanBacklog

logger = logging.getLogger(__name__)

TRACES_PATH: Final = "/v1/traces"
BATCH_MAX_SPANS: Final = 256
EXPORT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0
"""How long a stop waits for what is on its way."""

Export = Callable[[Sequence[Span]], bool]


class OtlpTraces:
    """A `Traces`. `url` is the collector's: http://collector:4318. `version` is this program's."""

    def __init__(
        self,
        *,
        url: str,
        version: str,
        timeout_s: float = EXPORT_TIMEOUT_S,
        backlog: SpanBacklog | None = None,
    ) -> None:
        self._endpoint = url if url.endswith(TRACES_PATH) else url.rstrip("/") + TRACES_PATH
        self._version = version
        self._timeout_s = timeout_s
        self._backlog = SpanBacklog() if backlog is None else backlog
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._abort: Callable[[], None] = lambda: None
        self._exported = 0
        self._undelivered = 0

    def offer(self, spans: Sequence[Span]) -> None:
        with self._changed:
            self._backlog.offer(spans)
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
                self._thread.start()
            self._changed.notify()

    @property
    def counts(self) -> Mapping[str, int]:
        return {"exported": self._exported, "dropped": self._undelivered + self._backlog.dropped}

    def close(self) -> None:
        """Deliver what waits, if that is quick; then give up. Blocks for at most twice `CLOSE_TIMEOUT_S`."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
            self._abort()
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        try:
            export = self._open()
        except Exception:  # a broken installation of the libraries: the hub works on without traces
            logger.exception("spans cannot be exported")
            return
        while True:
            with self._changed:
                while not self._backlog and not self._is_closed:
                    self._changed.wait()
                spans = self._backlog.take(BATCH_MAX_SPANS)
            if not spans:
                return
            if export(spans):
                self._exported += len(spans)
                continue
            level = logging.DEBUG if self._undelivered else logging.WARNING
            logger.log(level, "the collector at %s took no spans; they are dropped", self._endpoint)
            self._undelivered += len(spans)

    def _open(self) -> Export:
        """Here, because these libraries take seven megabytes and half a second."""
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.trace.export import SpanExportResult
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # one line of ours says the same
        exporter = OTLPSpanExporter(
            endpoint=self._endpoint, timeout=self._timeout_s, compression=Compression.Gzip
        )
        self._abort = exporter.shutdown
        scope = InstrumentationScope("covey", self._version)

        def context(span: Span, span_id: bytes) -> SpanContext:
            return SpanContext(
                int.from_bytes(span.trace_id, "big"),
                int.from_bytes(span_id, "big"),
                is_remote=False,
                trace_flags=TraceFlags(TraceFlags.SAMPLED),
            )

        def readable(span: Span) -> ReadableSpan:
            return ReadableSpan(
                name=span.name,
                context=context(span, span.span_id),
                parent=None if span.parent_id is None else context(span, span.parent_id),
                # Made by hand: `Resource.create` would add what it finds in the environment.
                resource=Resource({"service.name": span.service, "service.instance.id": span.instance}),
                attributes=span.attributes,
                kind=SpanKind.INTERNAL,
                status=Status(StatusCode.UNSET if span.error is None else StatusCode.ERROR),
                start_time=span.start_ns,
                end_time=span.end_ns,
                instrumentation_scope=scope,
            )

        return lambda spans: exporter.export([readable(span) for span in spans]) is SpanExportResult.SUCCESS
