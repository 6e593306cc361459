"""Every metric of the worker, declared once: name, help, base unit, and what to do when it looks wrong.

Durations are in seconds, sizes in bytes or clips. Label values come from closed sets (decisions, reasons
of ``errors.py``, stages); what does not is folded into ``other``, so that no upload can add a time series.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import generate_latest

MAX_VALUES = 64  # of one label of one metric; the next new value is counted as OTHER
OTHER = "other"

STAGE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
RUN_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CLIP_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The one object that the rest of the worker calls. It has its own registry: no global state."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._seen: dict[tuple[str, str], set[str]] = {}
        self._declare_uploads()
        self._declare_models()
        self._declare_cache()
        self._declare_stream()

    # Declarations

    def _declare_uploads(self) -> None:
        self._uploads = Counter(
            "sluice_uploads",
            "Uploads answered. Many with decided_by=error: docs/operations.md explains each `reason`.",
            ("decision", "decided_by", "reason"),
            registry=self.registry,
        )
        self._stage_s = Histogram(
            "sluice_stage_seconds",
            "Time of one upload in one stage. Remedy: the slowest stage is the one to give more of.",
            ("stage",),
            buckets=STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self._degraded = Counter(
            "sluice_degraded_uploads",
            "Uploads answered without the escalation that was due, and so with review. Remedy: add workers, "
            "or raise the deadline.",
            ("why",),
            registry=self.registry,
        )
        self._video_s = Counter(
            "sluice_video_seconds",
            "Seconds of video moderated, by the length of the uploads rather than by what was looked at.",
            registry=self.registry,
        )

    def _declare_models(self) -> None:
        self._models = Info(
            "sluice_model", "Models that are loaded.", ("role", "name"), registry=self.registry
        )
        self._batch_clips = Histogram(
            "sluice_batch_clips",
            "Clips in a batch. Always 1 under load: raise `inference.max_batch_delay_s`.",
            ("model",),
            buckets=CLIP_BUCKETS,
            registry=self.registry,
        )
        self._batches = Counter(
            "sluice_batches",
            "Batches by why they closed: full, delay, draining. Mostly `full`: the model is the bottleneck.",
            ("model", "why"),
            registry=self.registry,
        )
        self._run_s = Histogram(
            "sluice_batch_seconds",
            "Time of one batch in the model. Rising at the same size: the machine is shared or throttled.",
            ("model",),
            buckets=RUN_BUCKETS_S,
            registry=self.registry,
        )
        self._queue_clips = Gauge(
            "sluice_queue_clips",
            "Clips waiting for a model. At `inference.queue_clips` uploads wait for room: add workers.",
            ("model",),
            registry=self.registry,
        )
        self._escalations = Counter(
            "sluice_escalated_uploads",
            "Uploads whose clips went up to the escalation model. A growing share: the filter drifts, or "
            "a policy's band is wide.",
            registry=self.registry,
        )
        self._escalated_clips = Counter(
            "sluice_escalated_clips", "Clips that went up to the escalation model.", registry=self.registry
        )

    def _declare_cache(self) -> None:
        self._cache = Counter(
            "sluice_cache_events",
            "hit, miss, error (no answer), poisoned (value refused when read), shared (another worker "
            "computed it), opened and closed (circuit). `poisoned`: find who else writes to the server.",
            ("event",),
            registry=self.registry,
        )

    def _declare_stream(self) -> None:
        self._dead_letters = Counter(
            "sluice_dead_letters",
            "Records without a readable upload id. Their headers `__connect.errors.*` say what was wrong.",
            ("reason",),
            registry=self.registry,
        )
        self._admitted = Counter(
            "sluice_records_admitted",
            "Records taken up. More than the uploads answered: some came again after a rebalance or restart.",
            registry=self.registry,
        )
        self._abandoned = Counter(
            "sluice_records_abandoned",
            "Records whose partition went to another worker, or that a shutdown did not wait for. They are "
            "read again. Many: raise `worker.drain_timeout_s`, or find out why the group is restless.",
            registry=self.registry,
        )
        self._pending = Gauge(
            "sluice_records_pending",
            "Records admitted and not yet answered. At `worker.max_pending` reading pauses: add workers.",
            registry=self.registry,
        )
        self._pending_bytes = Gauge(
            "sluice_records_pending_bytes",
            "Their size, media inside of records included.",
            registry=self.registry,
        )
        self._partitions = Gauge(
            "sluice_partitions_assigned",
            "Partitions of the uploads topic that this worker reads.",
            registry=self.registry,
        )
        self._commits = Counter(
            "sluice_commits", "Commits of finished offsets that the broker has taken.", registry=self.registry
        )
        self._refused = Counter(
            "sluice_broker_failures",
            "Polls and commits that the broker did not answer; they are tried again. Many: look at it.",
            ("request",),
            registry=self.registry,
        )
        self._kept = Gauge(
            "sluice_answers_kept",
            "With exactly_once: answers that wait for a record before them, or for their transaction.",
            registry=self.registry,
        )
        self._kept_s = Gauge(
            "sluice_answers_kept_seconds",
            "Age of the oldest of them. Long: one slow upload holds up its partition; lower "
            "`worker.upload_timeout_s`, or use more partitions.",
            registry=self.registry,
        )
        self._paused = Gauge(
            "sluice_consumer_paused",
            "1 while reading is paused because `worker.max_pending` uploads are in flight.",
            registry=self.registry,
        )
        self._retries = Counter(
            "sluice_retries",
            "Second and later tries of what is retriable, by reason. Many: the store or broker is unwell.",
            ("reason",),
            registry=self.registry,
        )

    # What happened

    def upload_answered(self, decision: str, decided_by: str, reason: str) -> None:
        self._uploads.labels(decision, decided_by, self._bounded("uploads", "reason", reason)).inc()

    def stage_took(self, stage: str, seconds: float) -> None:
        self._stage_s.labels(self._bounded("stage_seconds", "stage", stage)).observe(seconds)

    def degraded(self, why: str) -> None:
        self._degraded.labels(self._bounded("degraded", "why", why)).inc()

    def video_moderated(self, duration_s: float) -> None:
        self._video_s.inc(max(0.0, duration_s))

    def model_loaded(self, role: str, name: str, **facts: str) -> None:
        """``facts``: version, variant, sha256, provider."""
        self._models.labels(role, name).info(facts)

    def batch_closed(self, model: str, clips: int, why: str, run_s: float) -> None:
        self._batch_clips.labels(model).observe(clips)
        self._batches.labels(model, why).inc()
        self._run_s.labels(model).observe(run_s)

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

    def assigned(self, partitions: int) -> None:
        self._partitions.set(partitions)

    def committed(self) -> None:
        self._commits.inc()

    def broker_failed(self, request: str) -> None:
        """``request``: poll or commit."""
        self._refused.labels(request).inc()

    def paused(self, is_paused: bool) -> None:
        self._paused.set(1 if is_paused else 0)

    def retried(self, reason: str) -> None:
        self._retries.labels(self._bounded("retries", "reason", reason)).inc()

    # Reading them

    def exposition(self) -> bytes:
        """What /metrics answers."""
        return generate_latest(self.registry)

    def value(self, name: str, **labels: str) -> float:
        """One sample, 0.0 when it was never touched. For tests and for the summary of the demo."""
        found = self.registry.get_sample_value(name, labels)
        return 0.0 if found is None else found

    def _bounded(self, metric: str, label: str, value: str) -> str:
        seen = self._seen.setdefault((metric, label), set())
        if value in seen:
            return value
        if len(seen) >= MAX_VALUES:
            return OTHER
        seen.add(value)
        return value
