"""Traces: a span for each upload and below it one for each stage, sent to a collector by OTLP over HTTP.

The context comes with the event (W3C Trace Context, https://www.w3.org/TR/trace-context/) and goes on with
the verdict. Spans tell names, times and reasons, and never a message: those may quote URIs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker import __version__
from worker.errors import SettingsError
from worker.settings import TelemetrySettings

Attributes = Mapping[str, str | int | float | bool]
SEND_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_MS = 2_000


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace that an upload belongs to."""

    trace_id: str  # empty: none
    traceparent: str | None  # what comes after this upload names it as its parent
    span: Any = field(default=None, repr=False)

    def tell(self, **attributes: str | int | float | bool) -> None:
        """What became of the upload."""
        if self.span is not None:
            self.span.set_attributes(_ours(attributes))


class Traces(Protocol):
    """Thread-safe."""

    def upload(self, traceparent: str | None, attributes: Attributes) -> AbstractContextManager[Trace]:
        """Around the work on one upload. ``traceparent``: as the event had it."""
        ...

    def stage(self, name: str) -> AbstractContextManager[object]:
        """Around a stage, on the thread of the upload that it belongs to."""
        ...

    def close(self) -> None:
        """Send what is left."""
        ...


class NoTraces:
    """Implements Traces: what came with the event is handed on as it is."""

    def upload(self, traceparent: str | None, attributes: Attributes) -> AbstractContextManager[Trace]:
        return nullcontext(Trace(_trace_id(traceparent), traceparent))

    def stage(self, name: str) -> AbstractContextManager[object]:
        return nullcontext()

    def close(self) -> None: ...


NO_TRACES = NoTraces()


class OtlpTraces:
    """Implements Traces with OpenTelemetry's SDK."""

    def __init__(self, url: str, share: float) -> None:
        """``share``: of the uploads whose event carries no decision on whether they are traced.

        Raises SettingsError when the SDK is not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise SettingsError(
                f"telemetry.traces_url is set, but {error.name} is missing: pip install 'sluice[traces]'"
            ) from error
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=Resource.create({"service.name": "sluice", "service.version": __version__}),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=url, timeout=SEND_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("sluice", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def upload(self, traceparent: str | None, attributes: Attributes) -> Iterator[Trace]:
        parent = self._propagator.extract({"traceparent": traceparent} if traceparent else {})
        with self._span("upload", parent, attributes) as span:
            carrier: dict[str, str] = {}
            self._propagator.inject(carrier)
            yield Trace(_trace_id(carrier.get("traceparent")), carrier.get("traceparent"), span)

    def stage(self, name: str) -> AbstractContextManager[object]:
        return self._span(name)

    def close(self) -> None:
        self._provider.force_flush(CLOSE_TIMEOUT_MS)
        self._provider.shutdown()

    @contextmanager
    def _span(self, name: str, parent: Any = None, attributes: Attributes | None = None) -> Iterator[Any]:
        from opentelemetry.trace import SpanKind, StatusCode

        kind = SpanKind.INTERNAL if parent is None else SpanKind.CONSUMER
        with self._tracer.start_as_current_span(
            name,
            parent,
            kind=kind,
            attributes=_ours(attributes or {}),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(StatusCode.ERROR, getattr(error, "reason", type(error).__name__))
                raise


def _ours(attributes: Attributes) -> Attributes:
    return {f"sluice.{name}": value for name, value in attributes.items()}


def traces_from(settings: TelemetrySettings) -> Traces:
    return OtlpTraces(settings.traces_url, settings.traces_share) if settings.traces_url else NO_TRACES


def _trace_id(traceparent: str | None) -> str:
    """The second field of W3C's traceparent; empty when there is none."""
    fields = (traceparent or "").split("-")
    return fields[1] if len(fields) >= 4 else ""
