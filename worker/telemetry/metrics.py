"""What happened, as metrics. They are declared in ``declared.py``.

Label values come from closed sets (decisions, reasons of ``errors.py``, stages, labels of the models); what
does not is folded into ``other``, so that no upload can add a time series.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import get_args

from prometheus_client.exposition import generate_latest

from worker.cache import Event
from worker.errors import MediaError, Quarantined, UnreadableEvent
from worker.stream.dead_letter import UNREADABLE_RECORD
from worker.telemetry.declared import Declared
from worker.telemetry.usage import CpuUsage, cpu_usage

MAX_VALUES = 64  # of one label of one metric; the next new value is counted as OTHER
OTHER = "other"

GPU_PROVIDERS = frozenset({"cuda", "tensorrt"})
SCORE_BINS = tuple(f"{upper / 10:.1f}" for upper in range(1, 11))  # upper edges of equal bins of [0, 1]


class Metrics(Declared):
    """The one object that the rest of the worker calls."""

    def __init__(self, usage: Callable[[], CpuUsage] = cpu_usage) -> None:
        """``usage``: CPU seconds since the start, asked for whenever the metrics are read."""
        super().__init__()
        self._usage = usage
        self._reading = threading.Lock()
        self._seen: dict[tuple[str, str], set[str]] = {}
        self._on_gpu: set[str] = set()  # models
        self._lagging: set[str] = set()  # partitions
        self._begin_at_zero()

    def started(self, at_s: float) -> None:
        """``at_s``: seconds since 1970."""
        self._start_s.set(at_s)

    def upload_answered(self, decision: str, decided_by: str, reason: str) -> None:
        self._uploads.labels(decision, decided_by, self._bounded("uploads", "reason", reason)).inc()

    def stage_took(self, stage: str, priority: str, seconds: float) -> None:
        self._stage_s.labels(self._bounded("stage_seconds", "stage", stage), priority).observe(seconds)

    def waited_in_topic(self, priority: str, seconds: float) -> None:
        """Clocks of two machines are compared: what would be negative counts as 0."""
        self._queue_s.labels(priority).observe(max(0.0, seconds))

    def upload_to_verdict(self, priority: str, seconds: float) -> None:
        self._verdict_s.labels(priority).observe(max(0.0, seconds))

    def degraded(self, why: str) -> None:
        self._degraded.labels(self._bounded("degraded", "why", why)).inc()

    def video_moderated(self, duration_s: float) -> None:
        self._video_s.inc(max(0.0, duration_s))

    def decoding(self) -> AbstractContextManager[object]:
        """Around a decode job, its wait for a process included."""
        return self._decodes.track_inprogress()

    def decode_failed(self, reason: str) -> None:
        self._decode_failures.labels(self._bounded("decode_failures", "reason", reason)).inc()

    def label_decided(self, label: str, action: str, decided_by: str) -> None:
        self._label_decisions.labels(label, action, decided_by).inc()

    def scored(self, label: str, probability: float) -> None:
        """What a model that looks at every upload said of a video, in [0, 1]."""
        self._scores.labels(label, SCORE_BINS[score_bin(probability)]).inc()

    def scores_expected(self, label: str, shares: Sequence[float] | None) -> None:
        """Makes all bins known. ``shares``: of each of SCORE_BINS; None: the model carries no reference."""
        for upper in SCORE_BINS:
            self._scores.labels(label, upper)
            self._reference.remove(label, upper)  # of the model before
        for upper, share in zip(SCORE_BINS, shares or (), strict=False):
            self._reference.labels(label, upper).set(share)

    def model_loaded(self, role: str, name: str, provider: str, **facts: str) -> None:
        """``facts``: version, variant, sha256."""
        self._models.labels(role, name).info({"provider": provider, **facts})
        if provider in GPU_PROVIDERS:
            self._on_gpu.add(name)

    def models_changed(self, outcome: str) -> None:
        """``outcome``: taken or refused."""
        self._model_changes.labels(outcome).inc()

    def model_refused(self, is_refused: bool) -> None:
        self._model_refused.set(1 if is_refused else 0)

    def shadowed(self, outcome: str) -> None:
        """``outcome``: agreed, disagreed, left_out or failed."""
        self._shadowed.labels(outcome).inc()

    def shadow_took(self, seconds: float) -> None:
        self._shadow_s.inc(seconds)

    def batch_closed(self, model: str, clips: int, why: str, run_s: float) -> None:
        self._batch_clips.labels(model).observe(clips)
        self._batches.labels(model, why).inc()
        self._run_s.labels(model).observe(run_s)
        if model in self._on_gpu:
            self._gpu_s.labels(model).inc(run_s)

    def queue_changed(self, model: str, clips: int) -> None:
        self._queue_clips.labels(model).set(clips)

    def escalated(self, clips: int) -> None:
        self._escalations.inc()
        self._escalated_clips.inc(clips)

    def cache_event(self, event: str) -> None:
        self._cache.labels(event).inc()

    def dead_letter(self, reason: str) -> None:
        self._dead_letters.labels(self._bounded("dead_letters", "reason", reason)).inc()

    def admitted(self) -> None:
        self._admitted.inc()

    def abandoned(self) -> None:
        self._abandoned.inc()

    def pending(self, records: int, size_bytes: int) -> None:
        self._pending.set(records)
        self._pending_bytes.set(size_bytes)

    def answers_kept(self, answers: int, oldest_s: float) -> None:
        self._kept.set(answers)
        self._kept_s.set(oldest_s)

    def answered(self, seconds: float) -> None:
        self._answer_s.observe(seconds)

    def assigned(self, partitions: int) -> None:
        self._partitions.set(partitions)

    def lag(self, records: Mapping[int, int]) -> None:
        """``records`` by partition; a partition that is not there any more is another worker's."""
        behind: Counter[str] = Counter()
        for partition, count in records.items():
            behind[self._bounded("lag", "partition", str(partition))] += count
        for gone in self._lagging - behind.keys():
            self._lag.remove(gone)
        self._lagging = set(behind)
        for partition_name, count in behind.items():
            self._lag.labels(partition_name).set(count)

    def committed(self) -> None:
        self._commits.inc()

    def polled(self, interval_s: float) -> None:
        self._poll_interval_s.observe(interval_s)

    def broker_failed(self, request: str) -> None:
        """``request``: poll or commit."""
        self._refused.labels(request).inc()

    def broker_silent(self, seconds: float) -> None:
        self._silence_s.set(seconds)

    def paused(self, is_paused: bool) -> None:
        self._paused.set(1 if is_paused else 0)

    def retried(self, reason: str) -> None:
        self._retries.labels(self._bounded("retries", "reason", reason)).inc()

    # Reading them

    def exposition(self) -> bytes:
        """What /metrics answers."""
        with self._reading:
            for part, seconds in self._usage()._asdict().items():
                counter = self._cpu_s.labels(part)
                counter.inc(max(0.0, seconds - self.value("sluice_cpu_seconds_total", part=part)))
        return generate_latest(self.registry)

    def value(self, name: str, **labels: str) -> float:
        """One sample, 0.0 when it was never touched. For tests and for the summary of the demo."""
        found = self.registry.get_sample_value(name, labels)
        return 0.0 if found is None else found

    def _begin_at_zero(self) -> None:
        """What shall be told when it happens once: an increase to 1 is seen only where there was a 0."""
        for reason in (UnreadableEvent.reason, UNREADABLE_RECORD):
            self._dead_letters.labels(reason)
        for error in MediaError.__subclasses__():
            self._decode_failures.labels(error.reason)
        for event in get_args(Event):
            self._cache.labels(event)
        for request in ("poll", "commit"):
            self._refused.labels(request)
        self._uploads.labels("review", "error", Quarantined.reason)
        for outcome in ("taken", "refused"):
            self._model_changes.labels(outcome)
        for outcome in ("agreed", "disagreed", "left_out", "failed"):
            self._shadowed.labels(outcome)

    def _bounded(self, metric: str, label: str, value: str) -> str:
        seen = self._seen.setdefault((metric, label), set())
        if value in seen:
            return value
        if len(seen) >= MAX_VALUES:
            return OTHER
        seen.add(value)
        return value


def score_bin(probability: float) -> int:
    """Index into SCORE_BINS of the bin [upper - 0.1, upper); 1.0 belongs to the last."""
    return min(len(SCORE_BINS) - 1, max(0, math.floor(probability * len(SCORE_BINS))))
