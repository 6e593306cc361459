"""The composition root: builds every object from the settings and owns what has to be closed.

Nothing else in the worker reads settings from the environment or creates threads and processes on import.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass

import structlog

from worker.attempts import Attempts, Counts, FileCounts, NoCounts, SharedCounts
from worker.cache import MemoryCache, RedisCache, ScoreCache
from worker.clock import Clock, SystemClock
from worker.errors import SettingsError, SluiceError
from worker.handler import UploadHandler
from worker.loading import ModelLoader
from worker.media.pool import DecodePool
from worker.media.source import MediaSource
from worker.model_watch import ModelWatch
from worker.moderation import Moderator
from worker.scoring import Scorer
from worker.serving import ServedModels
from worker.settings import CacheSettings, Settings
from worker.shadow import Shadow
from worker.stream.client import BrokerConsumer, BrokerTransactions, missing_topics, producing
from worker.stream.delivery import AtLeastOnce, Delivery, ExactlyOnce
from worker.stream.loop import StreamLoop
from worker.stream.signals import stop_on_signals
from worker.stream.types import Consumer, Producer
from worker.telemetry.health import Check, HealthServer
from worker.telemetry.logs import configure_logging
from worker.telemetry.metrics import Metrics
from worker.telemetry.stream import StreamMetrics
from worker.telemetry.traces import Traces, traces_from

PRODUCER_CLOSE_TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """A worker without a broker: what `sluice moderate` needs."""

    clock: Clock
    metrics: Metrics
    traces: Traces
    moderator: Moderator
    served: ServedModels
    cache: ScoreCache

    def broken(self) -> str | None:
        """Why a model cannot serve; None while all can."""
        return self.served.current.broken


@contextmanager
def service(
    settings: Settings, cache: ScoreCache | None = None, shadow_to: Producer | None = None
) -> Iterator[Service]:
    """Decoders started, models verified, loaded and warm.

    ``cache``: instead of the settings' one. ``shadow_to``: takes what shadow models say; None: none run.
    """
    clock = SystemClock()
    metrics = Metrics()
    metrics.started(clock.now().timestamp())
    with ExitStack() as stack:
        traces = stack.enter_context(closing(traces_from(settings.telemetry)))
        pool = stack.enter_context(DecodePool(settings.decode, clock))
        loader = ModelLoader(settings, clock, metrics)
        served = stack.enter_context(closing(ServedModels(loader.load(loader.wanted()))))
        loader.announce(served.current)
        source = stack.enter_context(closing(MediaSource(settings.fetch, clock)))
        cache = cache or _cache(settings.cache, clock, metrics)
        stack.callback(cache.close)
        shadow = None
        if shadow_to is not None and settings.shadow.models:
            shadow = stack.enter_context(closing(Shadow(settings, served, pool, shadow_to, clock, metrics)))
            shadow.start()
        if settings.inference.watch_s and settings.inference.models_dir is not None:
            watch = ModelWatch(
                settings.inference.models_dir,
                served,
                loader,
                metrics,
                interval_s=settings.inference.watch_s,
                patience_s=settings.worker.upload_timeout_s,
            )
            stack.enter_context(closing(watch)).start()
        moderator = Moderator(
            settings,
            clock=clock,
            source=source,
            scorer=Scorer(settings.sampling, pool, metrics),
            cache=cache,
            served=served,
            metrics=metrics,
            traces=traces,
            shadow=shadow,
        )
        yield Service(clock, metrics, traces, moderator, served, cache)


def run_worker(settings: Settings) -> int:
    """Moderate until SIGTERM or SIGINT.

    Returns the exit code: 0 after an orderly stop, 2 for settings that are wrong, 1 for anything else.
    """
    configure_logging(settings.telemetry.log_level, settings.telemetry.log_format)
    try:
        with (
            _shadow_producer(settings) as shadow_to,
            service(settings, shadow_to=shadow_to) as built,
            _stream(settings, built) as loop,
        ):
            stop_on_signals(loop, settings.worker.drain_timeout_s)
            with _health(settings, built, loop):
                log.info("worker_started", group=settings.kafka.group_id, topic=settings.kafka.uploads_topic)
                loop.run()
    except SluiceError as error:
        log.error("worker_stopped", reason=error.reason, error=str(error))
        return 2 if isinstance(error, SettingsError) else 1
    except Exception:
        log.exception("worker_failed")
        return 1
    return 0


def _cache(settings: CacheSettings, clock: Clock, metrics: Metrics) -> ScoreCache:
    if settings.url is None:
        return MemoryCache(settings.memory_entries, metrics.cache_event)
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
    _require_topics(settings)
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
        with producing(kafka, PRODUCER_CLOSE_TIMEOUT_S) as producer:
            yield AtLeastOnce(producer, consumer, clock)
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


def _shadow_producer(settings: Settings) -> AbstractContextManager[Producer | None]:
    """One of its own: verdicts may be in transactions, and shall not wait for what is only looked at."""
    return producing(settings.kafka, PRODUCER_CLOSE_TIMEOUT_S) if settings.shadow.models else nullcontext()


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


def _require_topics(settings: Settings) -> None:
    if missing := missing_topics(settings.kafka, settings.topics):
        raise SettingsError(
            f"{settings.kafka.bootstrap_servers} has no topic {', '.join(missing)}: create it with "
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

    def answers() -> str | None:
        age_s = loop.health().broker_silence_s
        is_silent = age_s > settings.kafka.session_timeout_s
        return f"the group's coordinator last answered {age_s:.0f} s ago" if is_silent else None

    live: dict[str, Check] = {"poll_loop": polls, "producer": acknowledged}
    server = HealthServer(
        telemetry.host,
        telemetry.port,
        metrics=built.metrics.exposition,
        live=live,
        ready={**live, "models": built.broken, "group": joined, "broker": answers},
    )
    server.start()
    try:
        yield
    finally:
        server.close()
