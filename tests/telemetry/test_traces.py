"""Spans that a collector receives, over OTLP's own wire format."""

from __future__ import annotations

import gzip
import importlib.util
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests import parts
from worker.errors import SettingsError, Undecodable
from worker.settings import TelemetrySettings
from worker.telemetry.traces import NO_TRACES, OtlpTraces, traces_from

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-00"


class Collector(ThreadingHTTPServer):
    """Takes what is sent to /v1/traces."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        super().__init__(("127.0.0.1", 0), _Receiver)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    def spans(self) -> dict[str, Any]:
        found = [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return {span.name: span for span in found}


class _Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    if importlib.util.find_spec("opentelemetry") is None:
        parts.miss("OpenTelemetry", "pip install 'sluice[traces]'")
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


def told(span: Any) -> dict[str, Any]:
    kinds = ("string_value", "int_value", "double_value", "bool_value")
    return {
        each.key: getattr(each.value, next(kind for kind in kinds if each.value.HasField(kind)))
        for each in span.attributes
    }


def test_an_upload_is_a_span_of_its_events_trace_with_its_stages_below(collector: Collector) -> None:
    traces = OtlpTraces(collector.url, share=1.0)
    with traces.upload(PARENT, {"upload_id": "u-1", "offset": 42}) as trace:
        with traces.stage("decode"):
            pass
        with pytest.raises(Undecodable), traces.stage("filter"):
            raise Undecodable("https://user:secret@host/a.mp4")
        trace.tell(decision="allow")
    traces.close()
    spans = collector.spans()
    assert spans.keys() == {"upload", "decode", "filter"}
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE_ID} == {trace.trace_id}
    assert spans["upload"].parent_span_id.hex() == PARENT.split("-")[2]
    assert {spans[name].parent_span_id for name in ("decode", "filter")} == {spans["upload"].span_id}
    assert trace.traceparent == f"00-{TRACE_ID}-{spans['upload'].span_id.hex()}-01"
    assert told(spans["upload"]) == {
        "sluice.upload_id": "u-1",
        "sluice.offset": 42,
        "sluice.decision": "allow",
    }
    assert (spans["filter"].status.code, spans["filter"].status.message) == (2, "undecodable")
    assert not any(b"secret" in request.SerializeToString() for request in collector.requests)
    (resource, *_) = collector.requests[0].resource_spans
    assert told(resource.resource)["service.name"] == "sluice"


def test_an_event_without_a_trace_begins_one(collector: Collector) -> None:
    traces = OtlpTraces(collector.url, share=1.0)
    with traces.upload(None, {}) as trace:
        pass
    traces.close()
    span = collector.spans()["upload"]
    assert len(trace.trace_id) == 32
    assert (span.trace_id.hex(), span.parent_span_id) == (trace.trace_id, b"")


@pytest.mark.parametrize(
    ("traceparent", "share", "sent"), [(None, 0.0, 0), (NOT_SAMPLED, 1.0, 0), (PARENT, 0.0, 1)]
)
def test_the_event_decides_whether_it_is_traced_and_else_the_share(
    collector: Collector, traceparent: str | None, share: float, sent: int
) -> None:
    traces = OtlpTraces(collector.url, share)
    with traces.upload(traceparent, {}) as trace, traces.stage("decode"):
        pass
    traces.close()
    assert len(collector.spans()) == 2 * sent
    flags = int((trace.traceparent or "")[-2:], 16)  # handed on all the same
    assert flags & 1 == sent


def test_a_collector_that_is_away_disturbs_nobody(collector: Collector) -> None:
    url = collector.url
    collector.server_close()
    traces = OtlpTraces(url, share=1.0)
    with traces.upload(PARENT, {}), traces.stage("decode"):
        pass
    traces.close()


@pytest.mark.parametrize(
    ("traceparent", "trace_id"), [(PARENT, TRACE_ID), (None, ""), ("nonsense", ""), ("00-aa-bb-01", "aa")]
)
def test_without_a_collector_the_context_is_handed_on_as_it_is(
    traceparent: str | None, trace_id: str
) -> None:
    with NO_TRACES.upload(traceparent, {}) as trace, NO_TRACES.stage("decode"):
        trace.tell(decision="allow")
    assert (trace.trace_id, trace.traceparent) == (trace_id, traceparent)
    assert traces_from(TelemetrySettings()) is NO_TRACES


def test_a_missing_sdk_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(
        SettingsError, match=r"telemetry.traces_url is set, but .* pip install 'sluice\[traces\]'"
    ):
        traces_from(TelemetrySettings(traces_url="http://localhost:4318/v1/traces"))
