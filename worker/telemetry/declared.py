"""Every metric of the worker, declared once: name, help, base unit, and what to do when it looks wrong.

Durations are in seconds, sizes in bytes or clips.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

STAGE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
VERDICT_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
RUN_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CLIP_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


class Declared:
    """The metrics, in a registry of their own: no global state. ``Metrics`` says what is put into them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._declare_uploads()
        self._declare_media()
        self._declare_scores()
        self._declare_models()
        self._declare_cache()
        self._declare_records()
        self._declare_answers()

    def _declare_uploads(self) -> None:
        self._start_s = self._gauge(
            "sluice_start_time_seconds",
            "When the worker's process started, in seconds since 1970. Changing again and again: the end of "
            "the last process's log says why it ended.",
        )
        self._uploads = self._counter(
            "sluice_uploads",
            "Uploads answered. Many with decided_by=error: docs/operations.md explains each `reason`.",
            ("decision", "decided_by", "reason"),
        )
        self._stage_s = self._histogram(
            "sluice_stage_seconds",
            "Time of one upload in one stage; `total` is all of them. Remedy: the slowest stage is the one "
            "to give more of.",
            ("stage", "priority"),
            STAGE_BUCKETS_S,
        )
        self._queue_s = self._histogram(
            "sluice_topic_wait_seconds",
            "From publishing until an upload is taken up. Long: uploads wait in the topic, add workers.",
            ("priority",),
            VERDICT_BUCKETS_S,
        )
        self._verdict_s = self._histogram(
            "sluice_upload_to_verdict_seconds",
            "From publishing until the verdict: what a platform waits for. Remedy: if most of it is "
            "sluice_topic_wait_seconds add workers, else look at sluice_stage_seconds.",
            ("priority",),
            VERDICT_BUCKETS_S,
        )
        self._degraded = self._counter(
            "sluice_degraded_uploads",
            "Uploads answered without the escalation that was due, and so with review. Remedy: add workers, "
            "or raise the deadline.",
            ("why",),
        )

    def _declare_media(self) -> None:
        self._video_s = self._counter(
            "sluice_video_seconds",
            "Seconds of video moderated, by the length of the uploads rather than by what was looked at.",
        )
        self._decodes = self._gauge(
            "sluice_decode_jobs",
            "Decode jobs that run or wait. Far above `decode.processes`: decoding is the bottleneck.",
        )
        self._decode_failures = self._counter(
            "sluice_decode_failures",
            "Decode jobs that failed, those for the escalation included. `decoder_crashed`: find the upload "
            "by the log and keep it; docs/operations.md explains each `reason`.",
            ("reason",),
        )
        self._cpu_s = self._counter(
            "sluice_cpu_seconds",
            "CPU time of the worker's process and of its decoder processes. Over sluice_video_seconds: what "
            "a second of video costs.",
            ("part",),
        )
        self._gpu_s = self._counter(
            "sluice_gpu_seconds",
            "Time that batches spent in a model on a GPU. With several sessions batches overlap, and this is "
            "more than the GPU's time.",
            ("model",),
        )

    def _declare_scores(self) -> None:
        self._label_decisions = self._counter(
            "sluice_label_decisions",
            "What was decided about each label. A sudden change with unchanged uploads: look for a new model "
            "or policy first.",
            ("label", "action", "decided_by"),
        )
        self._scores = self._counter(
            "sluice_scores",
            "New contents by what a first model said of the whole video, at its training prevalence: ten "
            "equal bins by their upper edge. Another shape than last week: the uploads or the model changed.",
            ("label", "bin"),
        )
        self._reference = self._gauge(
            "sluice_score_reference",
            "The share of each bin that the model's held-out scores would give at the default policy's "
            "prevalence. Only of models that carry held-out scores.",
            ("label", "bin"),
        )

    def _declare_models(self) -> None:
        self._models = Info(
            "sluice_model", "Models that are loaded.", ("role", "name"), registry=self.registry
        )
        self._model_changes = self._counter(
            "sluice_model_changes",
            "Other versions found in `inference.models_dir`: taken, or refused because they cannot serve. "
            "The log says why (`model_refused`).",
            ("outcome",),
        )
        self._model_refused = self._gauge(
            "sluice_model_refused",
            "1 while the version that is meant is refused and the one before serves on. Remedy: put a sound "
            "version into the folder, or take the bad one away.",
        )
        self._shadowed = self._counter(
            "sluice_shadow_uploads",
            "Uploads chosen for the models on trial: agreed, disagreed, left_out (no time for them), failed. "
            "Mostly left_out: raise `shadow.max_busy` or lower `shadow.share`.",
            ("outcome",),
        )
        self._shadow_s = self._counter(
            "sluice_shadow_seconds", "Time that the models on trial worked, decoding included."
        )
        self._batch_clips = self._histogram(
            "sluice_batch_clips",
            "Clips in a batch. Always 1 under load: raise `inference.max_batch_delay_s`.",
            ("model",),
            CLIP_BUCKETS,
        )
        self._batches = self._counter(
            "sluice_batches",
            "Batches by why they closed: full, delay, draining. Mostly `full`: the model is the bottleneck.",
            ("model", "why"),
        )
        self._run_s = self._histogram(
            "sluice_batch_seconds",
            "Time of one batch in the model. Rising at the same size: the machine is shared or throttled.",
            ("model",),
            RUN_BUCKETS_S,
        )
        self._queue_clips = self._gauge(
            "sluice_queue_clips",
            "Clips waiting for a model. At `inference.queue_clips` uploads wait for room: add workers.",
            ("model",),
        )
        self._escalations = self._counter(
            "sluice_escalated_uploads",
            "Uploads whose clips went up to the escalation model. A growing share: the filter drifts, or "
            "a policy's band is wide.",
        )
        self._escalated_clips = self._counter(
            "sluice_escalated_clips", "Clips that went up to the escalation model."
        )

    def _declare_cache(self) -> None:
        self._cache = self._counter(
            "sluice_cache_events",
            "hit, miss, error (no answer), poisoned (value refused when read), shared (another worker "
            "computed it), opened and closed (circuit). `poisoned`: find who else writes to the server.",
            ("event",),
        )

    def _declare_records(self) -> None:
        self._dead_letters = self._counter(
            "sluice_dead_letters",
            "Records without a readable upload id. Their headers `__connect.errors.*` say what was wrong.",
            ("reason",),
        )
        self._admitted = self._counter(
            "sluice_records_admitted",
            "Records taken up. More than the uploads answered: some came again after a rebalance or restart.",
        )
        self._abandoned = self._counter(
            "sluice_records_abandoned",
            "Records whose partition went to another worker, or that a shutdown did not wait for. They are "
            "read again. Many: raise `worker.drain_timeout_s`, or find out why the group is restless.",
        )
        self._pending = self._gauge(
            "sluice_records_pending",
            "Records admitted and not yet answered. At `worker.max_pending` reading pauses: add workers.",
        )
        self._pending_bytes = self._gauge(
            "sluice_records_pending_bytes", "Their size, media inside of records included."
        )
        self._partitions = self._gauge(
            "sluice_partitions_assigned", "Partitions of the uploads topic that this worker reads."
        )
        self._lag = self._gauge(
            "sluice_lag_records",
            "Records of a partition that this worker has not read yet, as its last fetch said; while reading "
            "is paused it fetches nothing. Growing: add workers, up to the number of partitions.",
            ("partition",),
        )
        self._poll_interval_s = self._histogram(
            "sluice_poll_interval_seconds",
            "From one poll of the broker to the next. Near `telemetry.max_poll_age_s`, where /livez fails: "
            "the broker answers slowly, or the machine has too few cores.",
            (),
            STAGE_BUCKETS_S,
        )
        self._paused = self._gauge(
            "sluice_consumer_paused",
            "1 while reading is paused because `worker.max_pending` uploads are in flight.",
        )

    def _declare_answers(self) -> None:
        self._answer_s = self._histogram(
            "sluice_answer_seconds",
            "From reading a record until its answer is acknowledged. Remedy: sluice_stage_seconds says where "
            "the time goes; what is left is the broker's.",
            (),
            STAGE_BUCKETS_S,
        )
        self._commits = self._counter(
            "sluice_commits", "Commits of finished offsets that the broker has taken."
        )
        self._refused = self._counter(
            "sluice_broker_failures",
            "Polls and commits that failed; they are tried again. Many: look at the broker. Polls of brokers "
            "that are away only find nothing: sluice_broker_silence_seconds.",
            ("request",),
        )
        self._silence_s = self._gauge(
            "sluice_broker_silence_seconds",
            "Since the group's coordinator last answered. Above `kafka.session_timeout_s`, where /readyz "
            "fails: the brokers are away, or the network to them is.",
        )
        self._kept = self._gauge(
            "sluice_answers_kept",
            "With exactly_once: answers that wait for a record before them, or for their transaction.",
        )
        self._kept_s = self._gauge(
            "sluice_answers_kept_seconds",
            "Age of the oldest of them. Long: one slow upload holds up its partition; lower "
            "`worker.upload_timeout_s`, or use more partitions.",
        )
        self._retries = self._counter(
            "sluice_retries",
            "Second and later tries of what is retriable, by reason. Many: the store or broker is unwell.",
            ("reason",),
        )

    def _counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(name, meaning, labels, buckets=buckets, registry=self.registry)
