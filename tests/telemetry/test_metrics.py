from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from tests.telemetry.everything import say_everything
from worker.telemetry.metrics import MAX_VALUES, OTHER, SCORE_BINS, Metrics, score_bin
from worker.telemetry.usage import CpuUsage

BASE_UNITS = ("_seconds", "_bytes", "_clips", "_uploads", "_records")


def test_what_happened_is_counted() -> None:
    metrics = Metrics()
    metrics.upload_answered("review", "error", "undecodable")
    metrics.upload_answered("review", "error", "undecodable")
    metrics.stage_took("decode", "live", 0.3)
    metrics.upload_to_verdict("live", 2.0)
    metrics.upload_to_verdict("live", -0.5)  # the publisher's clock is ahead
    metrics.decode_failed("no_video")
    metrics.label_decided("violence", "block", "escalation")
    metrics.batch_closed("violence-filter", 8, "full", 0.04)
    metrics.queue_changed("violence-filter", 24)
    metrics.escalated(3)
    metrics.cache_event("hit")
    metrics.paused(True)
    metrics.video_moderated(12.5)
    metrics.started(1.8e9)
    metrics.broker_silent(4.5)
    labels = {"decision": "review", "decided_by": "error", "reason": "undecodable"}
    assert metrics.value("sluice_uploads_total", **labels) == 2
    stage = {"stage": "decode", "priority": "live"}
    assert metrics.value("sluice_stage_seconds_bucket", **stage, le="0.25") == 0
    assert metrics.value("sluice_stage_seconds_bucket", **stage, le="0.5") == 1
    assert metrics.value("sluice_upload_to_verdict_seconds_count", priority="live") == 2
    assert metrics.value("sluice_upload_to_verdict_seconds_sum", priority="live") == 2.0
    assert metrics.value("sluice_decode_failures_total", reason="no_video") == 1
    decided = {"label": "violence", "action": "block", "decided_by": "escalation"}
    assert metrics.value("sluice_label_decisions_total", **decided) == 1
    assert metrics.value("sluice_batch_clips_sum", model="violence-filter") == 8
    assert metrics.value("sluice_batches_total", model="violence-filter", why="full") == 1
    assert metrics.value("sluice_queue_clips", model="violence-filter") == 24
    assert metrics.value("sluice_escalated_clips_total") == 3
    assert metrics.value("sluice_cache_events_total", event="hit") == 1
    assert metrics.value("sluice_consumer_paused") == 1
    assert metrics.value("sluice_video_seconds_total") == 12.5
    assert metrics.value("sluice_start_time_seconds") == 1.8e9
    assert metrics.value("sluice_broker_silence_seconds") == 4.5
    assert metrics.value("sluice_uploads_total", decision="block", decided_by="filter", reason="") == 0


def test_the_exposition_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.model_loaded("filter", "violence-filter", "openvino", version="1", variant="int8")
    families = {f.name: f for f in text_string_to_metric_families(metrics.exposition().decode())}
    assert families["sluice_model_info"].samples[0].labels == {
        "role": "filter",
        "name": "violence-filter",
        "version": "1",
        "variant": "int8",
        "provider": "openvino",
    }


def test_every_metric_is_ours_and_explained() -> None:
    for family in Metrics().registry.collect():
        assert family.name.startswith("sluice_")
        assert len(family.documentation) >= 20, f"{family.name} needs a help text"
        assert not family.name.endswith(("_ms", "_millis", "_percent")), f"{family.name}: base units"
        if family.type == "histogram":
            assert family.name.endswith(BASE_UNITS), f"{family.name} names no unit"


def test_two_workers_in_one_process_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.cache_event("hit")
    assert second.value("sluice_cache_events_total", event="hit") == 0
    assert not [f for f in REGISTRY.collect() if f.name.startswith("sluice")]


@pytest.mark.parametrize("method", ["degraded", "dead_letter", "retried", "decode_failed"])
def test_no_upload_can_add_series_without_end(method: str) -> None:
    metrics = Metrics()
    for i in range(MAX_VALUES + 10):
        getattr(metrics, method)(f"invented-{i}")
    lines = [line for line in metrics.exposition().decode().splitlines() if "invented-" in line]
    assert len([line for line in lines if "_total{" in line]) == MAX_VALUES
    assert f'"{OTHER}"}} 10.0' in metrics.exposition().decode()


def test_a_worker_has_no_more_series_than_a_prometheus_can_bear() -> None:
    metrics = Metrics()
    say_everything(metrics)
    for value in (f"invented-{i}" for i in range(2 * MAX_VALUES)):
        metrics.degraded(value)
        metrics.dead_letter(value)
        metrics.retried(value)
        metrics.decode_failed(value)
    metrics.lag(dict.fromkeys(range(1000), 1))
    series = [line for line in metrics.exposition().decode().splitlines() if not line.startswith("#")]
    assert 500 < len(series) < 2500
    assert metrics.value("sluice_lag_records", partition=OTHER) == 1000 - MAX_VALUES


def test_the_lag_of_a_partition_that_went_to_another_worker_is_not_told_any_more() -> None:
    metrics = Metrics()
    metrics.lag({0: 5, 1: 7})
    metrics.lag({1: 6})
    lines = [line for line in metrics.exposition().decode().splitlines() if line.startswith("sluice_lag")]
    assert lines == ['sluice_lag_records{partition="1"} 6.0']


@pytest.mark.parametrize(
    ("probability", "upper"), [(0.0, "0.1"), (0.0999, "0.1"), (0.1, "0.2"), (0.95, "1.0"), (1.0, "1.0")]
)
def test_bins_of_scores(probability: float, upper: str) -> None:
    assert SCORE_BINS[score_bin(probability)] == upper


def test_all_bins_of_a_label_are_there_before_the_first_upload() -> None:
    metrics = Metrics()
    metrics.scores_expected("violence", [0.1] * len(SCORE_BINS))
    metrics.scores_expected("violence", None)  # the model that took over has no reference
    metrics.scored("violence", 0.97)
    text = metrics.exposition().decode()
    assert text.count('sluice_scores_total{bin="') == len(SCORE_BINS)
    assert 'sluice_scores_total{bin="1.0",label="violence"} 1.0' in text
    assert "sluice_score_reference{" not in text


@pytest.mark.parametrize(
    "series",
    [
        'sluice_dead_letters_total{reason="unreadable_event"}',
        'sluice_decode_failures_total{reason="decoder_crashed"}',
        'sluice_cache_events_total{event="poisoned"}',
        'sluice_uploads_total{decided_by="error",decision="review",reason="quarantined"}',
    ],
)
def test_what_shall_be_told_at_once_begins_at_zero(series: str) -> None:
    assert f"{series} 0.0" in Metrics().exposition().decode().splitlines()


def test_processor_time_never_goes_back() -> None:
    """A process that ends can be missed for a moment; a counter that falls would read as a restart."""
    used = iter([CpuUsage(1.0, 5.0), CpuUsage(2.0, 4.0), CpuUsage(3.0, 6.0)])
    metrics = Metrics(lambda: next(used))
    seen = []
    for _ in range(3):
        metrics.exposition()
        seen.append([metrics.value("sluice_cpu_seconds_total", part=part) for part in ("worker", "decoders")])
    assert seen == [[1.0, 5.0], [2.0, 5.0], [3.0, 6.0]]


def test_only_models_on_a_gpu_use_it() -> None:
    metrics = Metrics()
    for name, provider in (("a", "cuda"), ("b", "openvino"), ("c", "tensorrt")):
        metrics.model_loaded("filter", name, provider)
        metrics.batch_closed(name, 8, "full", 0.5)
    assert [metrics.value("sluice_gpu_seconds_total", model=name) for name in "abc"] == [0.5, 0.0, 0.5]


def test_nothing_is_created_by_the_import() -> None:
    code = (
        "import threading, prometheus_client as p, logging\n"
        "before = {f.name for f in p.REGISTRY.collect()}, logging.getLogger().handlers[:]\n"
        "import worker.telemetry.metrics, worker.telemetry.logs, worker.telemetry.health\n"
        "assert before == ({f.name for f in p.REGISTRY.collect()}, logging.getLogger().handlers[:])\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
