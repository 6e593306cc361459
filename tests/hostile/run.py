"""Sends hostile files down the whole route of an upload, and looks at what must never happen."""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.hostile.mutate import mutated
from tests.hostile.seeds import File, Picker
from tests.routes import moderator
from tests.samples import an_event
from worker.clock import Deadline, SystemClock
from worker.events import Upload
from worker.media.pool import DecodePool
from worker.media.types import Decoded, DecodeRequest, Media
from worker.moderation import Moderator
from worker.settings import DecodeSettings

CLOCK = SystemClock()
UPLOAD_S = 30.0  # of one upload
SLACK_S = 5.0  # a busy machine may be late
JOB_S = 10.0
_WARM_SHARE = 0.1  # of a run, after which memory is compared
_MiB = 1024 * 1024


class WatchedPool(DecodePool):
    """Notes whether the calling thread's upload was decoded: what the verdict says is not asked."""

    def __init__(self, settings: DecodeSettings) -> None:
        super().__init__(settings, CLOCK)
        self._mine = threading.local()

    def begin(self) -> None:
        self._mine.decoded = False

    @property
    def has_decoded(self) -> bool:
        return bool(self._mine.decoded)

    def decode(self, media: Media, request: DecodeRequest, deadline: Deadline) -> Decoded:
        decoded = super().decode(media, request, deadline)
        self._mine.decoded = len(decoded.clips) > 0
        return decoded


@dataclass
class Findings:
    """What a run came to."""

    outcomes: Counter[str] = field(default_factory=Counter)  # `decoded`, or the verdict's reason
    problems: list[str] = field(default_factory=list)  # any is a defect
    decoder_crashes: list[str] = field(default_factory=list)  # contained, but worth a look
    slowest_s: float = 0.0
    warm_bytes: int = 0
    end_bytes: int = 0

    @property
    def uploads(self) -> int:
        return self.outcomes.total()

    @property
    def growth_bytes_per_upload(self) -> float:
        return (self.end_bytes - self.warm_bytes) / max(1.0, self.uploads * (1 - _WARM_SHARE))

    def to_json(self) -> dict[str, Any]:
        return {
            "uploads": self.uploads,
            "outcomes": dict(self.outcomes.most_common()),
            "problems": self.problems,
            "decoder_crashes": self.decoder_crashes,
            "slowest_s": round(self.slowest_s, 2),
            "memory_warm_mib": round(self.warm_bytes / _MiB, 1),
            "memory_end_mib": round(self.end_bytes / _MiB, 1),
            "growth_bytes_per_upload": round(self.growth_bytes_per_upload),
        }


def mutations(seeds: Sequence[File], seed: int, numbers: Iterable[int]) -> Iterator[File]:
    """Those with these numbers, named so that each can be made again from ``seed`` and ``seeds``."""
    picker = Picker(seeds)
    for number in numbers:
        random = Random(f"{seed}:{number}")
        drawn = picker.draw(random)
        data, changes = mutated(drawn.data, random)
        yield File(f"{number}: {drawn.name} {changes}", data)


def run(
    files: Iterable[File],
    count: int,
    threads: int = 2,
    tell: Callable[[Findings], None] = lambda findings: None,
) -> Findings:
    """Every file through fetch, decode pool, engine and policy. ``count``: how many files there are."""
    findings, lock = Findings(), threading.Lock()
    settings = DecodeSettings(processes=threads, job_timeout_s=JOB_S)
    with WatchedPool(settings) as pool, moderator(pool) as route, ThreadPoolExecutor(threads) as workers:

        def one(file: File) -> None:
            _judge(file, pool, route, findings, lock)
            with lock:
                if findings.uploads == int(count * _WARM_SHARE):
                    findings.warm_bytes = _resident_bytes()
                tell(findings)

        for batch in _batches(files, 16 * threads):
            list(workers.map(one, batch))
        findings.end_bytes = _resident_bytes()
    return findings


def _judge(file: File, pool: WatchedPool, route: Moderator, findings: Findings, lock: threading.Lock) -> None:
    pool.begin()
    upload = Upload(an_event(uri="inline:", policy="settled"), file.data or b"\0")
    begun_s = time.monotonic()
    try:
        verdict = route.moderate(upload, Deadline.after(CLOCK, UPLOAD_S))
    except Exception as error:  # nothing may come through
        with lock:
            findings.outcomes["raised"] += 1
            findings.problems.append(f"{file.name}: raised {type(error).__name__}: {error}")
        return
    took_s = time.monotonic() - begun_s
    earned = pool.has_decoded or verdict.decided_by == "cache"
    with lock:
        findings.outcomes[verdict.reason or "decoded"] += 1
        findings.slowest_s = max(findings.slowest_s, took_s)
        if verdict.reason == "decoder_crashed":
            findings.decoder_crashes.append(f"{file.name}: {verdict.detail}")
        if verdict.reason == "internal_error":
            findings.problems.append(f"{file.name}: {verdict.detail}")
        if took_s > UPLOAD_S + SLACK_S:
            findings.problems.append(f"{file.name}: took {took_s:.1f} s")
        if not earned and verdict.decision != "review":
            findings.problems.append(f"{file.name}: {verdict.decision}, and nothing was decoded")


def _batches(files: Iterable[File], size: int) -> Iterator[list[File]]:
    batch: list[File] = []
    for file in files:
        batch.append(file)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def _resident_bytes() -> int:
    """Of this process: of the worker."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
