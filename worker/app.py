"""The composition root: builds every object from the settings and owns what has to be closed.

Nothing else in the worker reads settings from the environment or creates threads and processes on import.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import structlog

from worker import __version__
from worker.attempts import Attempts, Counts, FileCounts, NoCounts, SharedCounts
from worker.cache import MemoryCache, RedisCache, ScoreCache
from worker.cascade.policy import Policies, load_policies
from worker.cascade.policy_file import read_policy_file
from worker.clock import Clock, SystemClock
from worker.errors import SettingsError, SluiceError
from worker.handler import UploadHandler
from worker.inference.batcher import BatchPolicy
from worker.inference.engine import Engine
from worker.inference.providers import GpuOptions, most_clips
from worker.inference.registry import find_artifact
from worker.inference.session import Session, open_session
from worker.media.pool import DecodePool
from worker.media.source import MediaSource
from worker.messages import ModelVersion, Versions
from worker.moderation import Model, Moderator
from worker.settings import CacheSettings, InferenceSettings, KafkaSettings, PolicySettings, Settings
from worker.stream.client import BrokerConsumer, BrokerProducer, BrokerTransactions, missing_topics
from worker.stream.delivery import AtLeastOnce, Delivery, ExactlyOnce
from worker.stream.loop import StreamLoop
from worker.stream.signals import stop_on_signals
from worker.stream.types import Consumer
from worker.telemetry.drift import expect_scores
from worker.telemetry.health import Check, HealthServer
from worker.telemetry.logs import configure_logging
from worker.telemetry.metrics import Metrics
from worker.telemetry.stream import StreamMetrics
from worker.telemetry.traces import Traces, traces_from

ENGINE_CLOSE_TIMEOUT_S = 5.0
PRODUCER_CLOSE_TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """A worker without a broker: what `sluice moderate` needs."""

    clock: Clock
    metrics: Metrics
    traces: Traces
    moderator: Moderator
    models: tuple[Model, ...]
    cache: ScoreCache

    def broken(self) -> str | None:
        """Why a model cannot serve; None while all can."""
        return next((model.engine.broken for model in self.models if model.engine.broken), None)


@contextmanager
def service(settings: Settings, cache: ScoreCache | None = None) -> Iterator[Service]:
    """Decoders started, models verified, loaded and warm. ``cache``: instead of the settings' one."""
    clock = SystemClock()
    metrics = Metrics()
    with ExitStack() as stack:
        traces = stack.enter_context(closing(traces_from(settings.telemetry)))
        pool = stack.enter_context(DecodePool(settings.decode, clock))
        first, escalation = stack.enter_context(_models(settings.inference, clock, metrics))
        models = (*first, escalation) if escalation else first
        source = MediaSource(settings.fetch, clock)
        stack.callback(source.close)
        cache = cache or _cache(settings.cache, clock, metrics)
        stack.callback(cache.close)
        policies = _policies(settings.policy, first, escalation)
        _expect_scores(metrics, settings, first, policies)
        moderator = Moderator(
            settings,
            clock=clock,
            source=source,
            pool=pool,
            cache=cache,
            first=first,
            escalation=escalation,
            policies=policies,
            versions=Versions(
                models=tuple(model.version for model in models),
                taxonomy=first[0].spec.taxonomy,
                code=__version__,
            ),
            metrics=metrics,
            traces=traces,
        )
        yield Service(clock, metrics, traces, moderator, models, cache)


def run_worker(settings: Settings) -> int:
    """Moderate until SIGTERM or SIGINT. Returns the exit code: 0 after an orderly stop."""
    configure_logging(settings.telemetry.log_level, settings.telemetry.log_format)
    try:
        with service(settings) as built, _stream(settings, built) as loop:
            stop_on_signals(loop, settings.worker.drain_timeout_s)
            with _health(settings, built, loop):
                log.info("worker_started", group=settings.kafka.group_id, topic=settings.kafka.uploads_topic)
                loop.run()
    except SluiceError as error:
        log.error("worker_stopped", reason=error.reason, error=str(error))
        return 1
    except Exception:
        log.exception("worker_failed")
        return 1
    return 0


@contextmanager
def _models(
    settings: InferenceSettings, clock: Clock, metrics: Metrics
) -> Iterator[tuple[tuple[Model, ...], Model | None]]:
    """The filter and the additional models, which look at every upload, and the escalation model if any."""
    with ExitStack() as stack:

        def serve(role: str, reference: str, variant: str) -> Model:
            sessions = [_session(reference, variant, settings) for _ in range(settings.sessions)]
            for session in sessions:
                stack.callback(session.close)
            engine = _engine(sessions, settings, clock, metrics)
            stack.callback(engine.close, ENGINE_CLOSE_TIMEOUT_S)
            version = _version(sessions[0])
            metrics.model_loaded(role, provider=sessions[0].provider, **version.model_dump())
            return Model(engine, version)

        variant = settings.variant
        first = [serve("filter", settings.filter, variant)]
        escalation = serve("escalation", settings.escalation, variant) if settings.escalation else None
        first += [serve("additional", reference, variant="") for reference in settings.additional]
        _check_labels(first)
        yield tuple(first), escalation


def _engine(
    sessions: Sequence[Session], settings: InferenceSettings, clock: Clock, metrics: Metrics
) -> Engine:
    engine = Engine(
        sessions[0],
        BatchPolicy(_most_clips(sessions[0], settings), settings.max_batch_delay_s),
        clock,
        queue_clips=settings.queue_clips,
        run_timeout_s=settings.engine_timeout_s,
        events=metrics,
        also=sessions[1:],
    )
    engine.start()
    return engine


def _check_labels(first: Sequence[Model]) -> None:
    """Two models that look at every upload and know one label would leave open whose word counts."""
    known: dict[str, str] = {}
    for model in first:
        for label in model.spec.label_names:
            if label in known:
                raise SettingsError(
                    f"label {label!r} is known to {known[label]} and to {model.spec.name}: "
                    "take one of them out of inference.filter and inference.additional"
                )
            known[label] = model.spec.name


def _session(reference: str, variant: str, settings: InferenceSettings) -> Session:
    artifact = find_artifact(reference, settings.models_dir)
    session = open_session(
        artifact,
        provider=settings.provider,
        variant=variant,
        threads=settings.threads,
        gpu=GpuOptions(settings.max_batch_clips, settings.cuda_graphs, settings.engine_cache_dir),
    )
    warmth = session.warm_up(_most_clips(session, settings))
    log.info(
        "model_loaded",
        model=artifact.reference,
        variant=session.variant.name,
        provider=session.provider,
        warm_up_s=round(warmth.total_s, 2),
    )
    return session


def _most_clips(session: Session, settings: InferenceSettings) -> int:
    return most_clips(session.provider, session.spec, settings.max_batch_clips)


def _version(session: Session) -> ModelVersion:
    spec = session.spec
    return ModelVersion(
        name=spec.name,
        version=spec.version,
        variant=session.variant.name,
        sha256=session.variant.sha256,
        spec_sha256=hashlib.sha256(spec.model_dump_json().encode()).hexdigest(),
    )


def _policies(settings: PolicySettings, first: Sequence[Model], escalation: Model | None) -> Policies:
    file = read_policy_file(settings.file) if settings.file else None
    return load_policies(
        file,
        [model.spec for model in first],
        escalation.spec if escalation else None,
        default=settings.default,
        max_escalated_clips=settings.max_escalated_clips,
    )


def _expect_scores(metrics: Metrics, settings: Settings, first: Sequence[Model], policies: Policies) -> None:
    for model in first:
        version = model.version
        artifact = find_artifact(f"{version.name}@{version.version}", settings.inference.models_dir)
        precision = artifact.variant(version.variant, "").precision
        policy = policies.get(settings.policy.default)
        expect_scores(metrics, model.spec, artifact.folder, precision, policy)


def _cache(settings: CacheSettings, clock: Clock, metrics: Metrics) -> ScoreCache:
    if settings.url is None:
        return MemoryCache(settings.memory_entries, settings.lease_s, clock, metrics.cache_event)
    return RedisCache(
        settings.url.get_secret_value(),
        clock,
        metrics.cache_event,
        ttl_s=settings.ttl_s,
        timeout_s=settings.timeout_s,
        lease_s=settings.lease_s,
        poll_s=settings.poll_s,
        breaker_failures=settings.breaker_failures,
        breaker_reset_s=settings.breaker_reset_s,
    )


@contextmanager
def _stream(settings: Settings, built: Service) -> Iterator[StreamLoop]:
    _require_topics(settings.kafka)
    consumer = BrokerConsumer(settings.kafka)
    with (
        closing(_attempts(settings, built.cache)) as attempts,
        _delivery(settings, consumer, built.clock) as delivery,
    ):
        yield StreamLoop(
            consumer,
            delivery,
            UploadHandler(settings, built.moderator, attempts, built.clock, built.metrics, built.traces),
            settings.kafka,
            settings.worker,
            built.clock,
            StreamMetrics(built.metrics),
            attempts.release,
        )


@contextmanager
def _delivery(settings: Settings, consumer: Consumer, clock: Clock) -> Iterator[Delivery]:
    kafka = settings.kafka
    if kafka.delivery == "at_least_once":
        producer = BrokerProducer(kafka)
        try:
            yield AtLeastOnce(producer, consumer, clock)
        finally:
            producer.close(PRODUCER_CLOSE_TIMEOUT_S)
        return
    transactions = BrokerTransactions(kafka)
    try:
        yield ExactlyOnce(
            transactions,
            consumer,
            clock,
            interval_s=kafka.transaction_interval_s,
            timeout_s=kafka.delivery_timeout_s,
            max_kept_bytes=settings.worker.max_pending_bytes,
        )
    finally:
        transactions.close(PRODUCER_CLOSE_TIMEOUT_S)


def _attempts(settings: Settings, cache: ScoreCache) -> Attempts:
    counts: Counts = NoCounts()
    if isinstance(cache, RedisCache):
        counts = SharedCounts(cache)
    elif settings.worker.state_dir is not None:
        counts = FileCounts(settings.worker.state_dir)
    else:
        log.warning(
            "attempts_are_not_counted",
            remedy="set cache.url or worker.state_dir: else an upload that kills the worker does so for ever",
        )
    return Attempts(counts, settings.kafka.group_id, settings.worker.quarantine_after)


def _require_topics(kafka: KafkaSettings) -> None:
    missing = missing_topics(kafka, (kafka.uploads_topic, kafka.verdicts_topic, kafka.dead_letters_topic))
    if missing:
        raise SettingsError(
            f"{kafka.bootstrap_servers} has no topic {', '.join(missing)}: create it with "
            "`sluice topics create`, or name another by SLUICE_KAFKA__UPLOADS_TOPIC and the like"
        )


@contextmanager
def _health(settings: Settings, built: Service, loop: StreamLoop) -> Iterator[None]:
    telemetry = settings.telemetry

    def polls() -> str | None:
        age_s = loop.health().last_poll_age_s
        return f"the last poll was {age_s:.0f} s ago" if age_s > telemetry.max_poll_age_s else None

    def acknowledged() -> str | None:
        age_s = loop.health().oldest_unacknowledged_s
        return f"a verdict waits for {age_s:.0f} s" if age_s > telemetry.max_unacknowledged_s else None

    def joined() -> str | None:
        return None if loop.health().joined else "the consumer group was not joined yet"

    live: dict[str, Check] = {"poll_loop": polls, "producer": acknowledged}
    server = HealthServer(
        telemetry.host,
        telemetry.port,
        metrics=built.metrics.exposition,
        live=live,
        ready={**live, "models": built.broken, "group": joined},
    )
    server.start()
    try:
        yield
    finally:
        server.close()
