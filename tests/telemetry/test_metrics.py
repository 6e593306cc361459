from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from worker.telemetry.metrics import MAX_VALUES, OTHER, Metrics

BASE_UNITS = ("_seconds", "_bytes", "_clips", "_uploads", "_records")


def test_what_happened_is_counted() -> None:
    metrics = Metrics()
    metrics.upload_answered("review", "error", "undecodable")
    metrics.upload_answered("review", "error", "undecodable")
    metrics.stage_took("decode", 0.3)
    metrics.batch_closed("violence-filter", 8, "full", 0.04)
    metrics.queue_changed("violence-filter", 24)
    metrics.escalated(3)
    metrics.cache_event("hit")
    metrics.paused(True)
    metrics.video_moderated(12.5)
    labels = {"decision": "review", "decided_by": "error", "reason": "undecodable"}
    assert metrics.value("sluice_uploads_total", **labels) == 2
    assert metrics.value("sluice_stage_seconds_bucket", stage="decode", le="0.25") == 0
    assert metrics.value("sluice_stage_seconds_bucket", stage="decode", le="0.5") == 1
    assert metrics.value("sluice_batch_clips_sum", model="violence-filter") == 8
    assert metrics.value("sluice_batches_total", model="violence-filter", why="full") == 1
    assert metrics.value("sluice_queue_clips", model="violence-filter") == 24
    assert metrics.value("sluice_escalated_clips_total") == 3
    assert metrics.value("sluice_cache_events_total", event="hit") == 1
    assert metrics.value("sluice_consumer_paused") == 1
    assert metrics.value("sluice_video_seconds_total") == 12.5
    assert metrics.value("sluice_uploads_total", decision="block", decided_by="filter", reason="") == 0


def test_the_exposition_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.model_loaded("filter", name="violence-filter", version="1", variant="int8")
    families = {f.name: f for f in text_string_to_metric_families(metrics.exposition().decode())}
    assert families["sluice_model_info"].samples[0].labels == {
        "role": "filter",
        "name": "violence-filter",
        "version": "1",
        "variant": "int8",
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


@pytest.mark.parametrize("method", ["degraded", "dead_letter", "retried"])
def test_no_upload_can_add_series_without_end(method: str) -> None:
    metrics = Metrics()
    for i in range(MAX_VALUES + 10):
        getattr(metrics, method)(f"invented-{i}")
    lines = [line for line in metrics.exposition().decode().splitlines() if "invented-" in line]
    assert len([line for line in lines if "_total{" in line]) == MAX_VALUES
    assert f'"{OTHER}"}} 10.0' in metrics.exposition().decode()


def test_nothing_is_created_by_the_import() -> None:
    code = (
        "import threading, prometheus_client as p, logging\n"
        "before = {f.name for f in p.REGISTRY.collect()}, logging.getLogger().handlers[:]\n"
        "import worker.telemetry.metrics, worker.telemetry.logs, worker.telemetry.health\n"
        "assert before == ({f.name for f in p.REGISTRY.collect()}, logging.getLogger().handlers[:])\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
