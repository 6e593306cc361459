"""Scores of content that was seen before, shared by all workers. The only file that imports redis.

    scores = cache.get(key)
    if scores is None:
        lease = cache.lease(key, deadline)    # this caller computes, until it releases the lease
        if lease is None:                     # it need not: another worker has computed it meanwhile,
            scores = cache.get(key)           # or there is no time or no server to wait for
    ... when still None: compute, cache.put(key, scores), release the lease

The cache may fail at any time and no upload notices: every failure is a miss. A time-out opens the
circuit at once, and a thread of its own asks the server until it is back, so that no upload pays for
asking again.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.cache_format import MAX_VALUE_BYTES, Poisoned, cache_key, pack, unpack
from worker.cascade.types import ContentScores
from worker.clock import Clock, Deadline
from worker.errors import CacheUnavailable, SettingsError

Event = Literal["hit", "miss", "error", "poisoned", "shared", "opened", "closed"]
OnEvent = Callable[[Event], None]
T = TypeVar("T")

# Of the time an upload has left, how much it may wait for another worker. The rest is to compute itself.
WAIT_SHARE = 0.5
RENEWALS = 3  # of a lease before it would expire

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to compute one content, until released. Releasing twice does no harm."""

    release: Callable[[], None]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class ScoreCache(Protocol):
    """Thread-safe. Nothing here raises because a server is away."""

    def get(self, key: str) -> ContentScores | None: ...

    def put(self, key: str, scores: ContentScores) -> None: ...

    def lease(self, key: str, deadline: Deadline) -> Lease | None:
        """Single flight: at most one caller at a time holds the lease of a key, across all workers.

        Waits while another holds it. None: compute without one, after looking again with ``get``.
        """
        ...

    def close(self) -> None: ...


class MemoryCache:
    """For one process: the most recently used entries, and single flight among its threads."""

    def __init__(self, entries: int, on_event: OnEvent) -> None:
        self._entries = entries
        self._on_event = on_event
        self._changed = threading.Condition()
        self._values: OrderedDict[str, ContentScores] = OrderedDict()
        self._leases: dict[str, str] = {}  # key -> token of who computes it

    def get(self, key: str) -> ContentScores | None:
        with self._changed:
            scores = self._values.get(key)
            if scores is not None:
                self._values.move_to_end(key)
        self._on_event("miss" if scores is None else "hit")
        return scores

    def put(self, key: str, scores: ContentScores) -> None:
        with self._changed:
            self._values[key] = scores
            self._values.move_to_end(key)
            while len(self._values) > self._entries:
                self._values.popitem(last=False)
            self._changed.notify_all()

    def lease(self, key: str, deadline: Deadline) -> Lease | None:
        until = deadline.within(deadline.remaining_s * WAIT_SHARE)
        has_waited = False
        with self._changed:
            while key not in self._values:
                if key not in self._leases:
                    return self._grant(key)
                if until.passed:
                    return None
                has_waited = True
                self._changed.wait(until.remaining_s)
        if has_waited:
            self._on_event("shared")
        return None

    def close(self) -> None:
        """Nothing to close."""

    def _grant(self, key: str) -> Lease:
        token = self._leases[key] = secrets.token_hex(8)
        return Lease(lambda: self._release(key, token))

    def _release(self, key: str, token: str) -> None:
        with self._changed:
            if self._leases.get(key) == token:
                del self._leases[key]
                self._changed.notify_all()


# Each script runs as a whole inside the server, so nothing can come between their steps.
ACQUIRE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 'there' end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 'granted' end
return 'held'
"""
RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisCache:
    """Over any server that speaks Redis' protocol. Keys share a hash tag, so a cluster serves them too.

    A lease ends ``lease_s`` after its worker has: as long as it lives, a thread of its own renews it.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        on_event: OnEvent,
        *,
        ttl_s: float,
        timeout_s: float,
        lease_s: float,
        poll_s: float,
        breaker_failures: int,
        breaker_reset_s: float,
    ) -> None:
        self._clock = clock
        self._on_event = on_event
        self._ttl_ms = max(1, round(ttl_s * 1000))
        self._lease_s = lease_s
        self._lease_ms = max(1, round(lease_s * 1000))
        self._held: dict[str, str] = {}  # key -> token; guarded by the lock
        self._lock = threading.Lock()
        self._renewing: threading.Thread | None = None
        self._poll_s = poll_s
        self._closed = threading.Event()
        self._client = _client(url, timeout_s)
        self._acquire = self._client.register_script(ACQUIRE)
        self._renew = self._client.register_script(RENEW)
        self._release = self._client.register_script(RELEASE)
        self._circuit = _Circuit(
            self._is_back,
            self._closed,
            clock,
            on_event,
            failures=breaker_failures,
            slow_s=timeout_s / 2,
            reset_s=breaker_reset_s,
        )

    def get(self, key: str) -> ContentScores | None:
        scores = self._read(key)
        self._on_event("miss" if scores is None else "hit")
        return scores

    def put(self, key: str, scores: ContentScores) -> None:
        try:
            value = pack(key, scores)
        except ValueError as error:  # what would be refused when read need not be written
            log.warning("scores are not cached: %s", error)
            return
        self._ask(lambda: self._client.set(_value_name(key), value, px=self._ttl_ms))

    def lease(self, key: str, deadline: Deadline) -> Lease | None:
        until = deadline.within(deadline.remaining_s * WAIT_SHARE)
        token = secrets.token_hex(16)
        has_waited = False
        while True:
            answer = self._ask(
                lambda: self._acquire([_value_name(key), _lease_name(key)], [token, self._lease_ms])
            )
            if answer == b"granted":
                return self._granted(key, token)
            if answer == b"there" and has_waited:
                self._on_event("shared")
            if answer != b"held" or until.passed or self._closed.wait(self._poll_s):
                return None
            has_waited = True

    def ask(self, command: Callable[[redis.Redis], T]) -> T | None:
        """What else lives on the server is asked under the same circuit. None: no answer."""
        return self._ask(lambda: command(self._client))

    def close(self) -> None:
        self._closed.set()
        self._client.close()

    def _read(self, key: str) -> ContentScores | None:
        name = _value_name(key)
        # At most one byte more than is allowed, whatever size somebody gave the value.
        value = self._ask(lambda: self._client.getrange(name, 0, MAX_VALUE_BYTES))
        if not isinstance(value, bytes) or not value:
            return None
        try:
            return unpack(key, value)
        except Poisoned as error:
            log.warning("cached value %s refused: %s", name, error)
            self._on_event("poisoned")
            self._ask(lambda: self._client.delete(name))  # else nobody could take its lease
            return None

    def _granted(self, key: str, token: str) -> Lease:
        with self._lock:
            self._held[key] = token
            if self._renewing is None:
                self._renewing = threading.Thread(target=self._keep, name="cache-leases", daemon=True)
                self._renewing.start()
        return Lease(lambda: self._give_back(key, token))

    def _keep(self) -> None:
        while not self._closed.wait(self._lease_s / RENEWALS):
            with self._lock:
                held = dict(self._held)
            for key, token in held.items():
                self._ask(partial(self._renew, [_lease_name(key)], [token, self._lease_ms]))

    def _give_back(self, key: str, token: str) -> None:
        with self._lock:
            if self._held.get(key) == token:
                del self._held[key]
        self._ask(lambda: self._release([_lease_name(key)], [token]))

    def _ask(self, command: Callable[[], T]) -> T | None:
        """The server's answer, None when there is none."""
        try:
            return self._circuit.call(command)
        except CacheUnavailable:
            return None

    def _is_back(self) -> bool:
        try:
            self._client.connection_pool.disconnect(inuse_connections=False)  # they lead to the dead one
            return bool(self._client.ping())
        except (redis.RedisError, OSError):
            return False


def _client(url: str, timeout_s: float) -> redis.Redis:
    """A client that never tries again: it would block for many seconds, and the circuit does it better."""
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )
    except ValueError as error:  # its text may repeat the URL's password: not shown
        raise SettingsError(
            "cache.url cannot be understood; accepted: redis://[[user]:password@]host:port/db, "
            "rediss://... with TLS, unix://[[user]:password@]/path?db=db"
        ) from error


class _Circuit:
    """Keeps uploads from waiting for a server that does not answer."""

    def __init__(
        self,
        is_back: Callable[[], bool],
        closed: threading.Event,
        clock: Clock,
        on_event: OnEvent,
        *,
        failures: int,
        slow_s: float,
        reset_s: float,
    ) -> None:
        self._is_back = is_back
        self._closed = closed
        self._clock = clock
        self._on_event = on_event
        self._failures = failures
        self._slow_s = slow_s
        self._reset_s = reset_s
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._is_open = False

    def call(self, command: Callable[[], T]) -> T:
        if self._is_open or self._closed.is_set():
            raise CacheUnavailable("the circuit is open")
        started_s = self._clock.monotonic_s()
        try:
            answer = command()
        except (redis.RedisError, OSError) as error:
            self._on_event("error")
            # Waiting is what hurts, for an answer or for a name, so once is enough; a refusal costs
            # nothing and may pass.
            self._failed(error, is_enough=self._clock.monotonic_s() - started_s >= self._slow_s)
            raise CacheUnavailable(str(error)) from error
        self._in_a_row = 0
        return answer

    def _failed(self, error: Exception, *, is_enough: bool) -> None:
        with self._lock:
            self._in_a_row += 1
            if self._is_open or not (is_enough or self._in_a_row >= self._failures):
                return
            self._is_open = True
        log.warning("cache does without its server until it answers again: %s", error)
        self._on_event("opened")
        threading.Thread(target=self._revive, name="cache-revive", daemon=True).start()

    def _revive(self) -> None:
        while not self._closed.wait(self._reset_s):
            if self._is_back():
                self._in_a_row = 0
                self._is_open = False
                log.info("cache has its server back")
                self._on_event("closed")
                return


def _value_name(key: str) -> str:
    return f"sluice:scores:{{{key}}}"


def _lease_name(key: str) -> str:
    return f"sluice:lease:{{{key}}}"


__all__ = ["Event", "Lease", "MemoryCache", "RedisCache", "ScoreCache", "cache_key"]
