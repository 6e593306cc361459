"""Uploads whose content is known: how many verdicts one core gives in a second."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.decoders.media import Clip
from benchmarks.service.load import saturated
from benchmarks.service.stage import Bench, all_cores
from worker.app import service
from worker.clock import Deadline
from worker.events import Upload
from worker.messages import UploadEvent
from worker.settings import FetchSettings, InferenceSettings, Settings
from worker.standalone import EmbeddedCache
from worker.telemetry.logs import configure_logging

PATIENCE_S = 60.0
TRUST = "SLUICE_FETCH__TRUST_PRODUCER_DIGEST"
STARTS_SOON = {"SLUICE_INFERENCE__MAX_BATCH_CLIPS": "1"}  # the models have nothing to do here


@dataclass(frozen=True)
class Way:
    name: str
    trusted: bool = False  # the producer's digest is believed, so nothing is fetched
    shared: bool = False  # a server (Valkey) holds the scores, not the worker itself


WAYS = (
    Way("fetched and digested"),
    Way("digest trusted", trusted=True),
    Way("digest trusted, shared cache", trusted=True, shared=True),
)


def through_broker(bench: Bench, clip: Clip, uploads: int) -> list[dict[str, Any]]:
    """From publishing to the verdict, the worker with one core to itself."""
    *others, mine = all_cores()
    rows = []
    (file,) = bench.fresh(clip, 1)
    for way in WAYS:
        with _cache(way) as variables, bench.workers(cores=[{mine}], environment=variables) as workers:
            sha256 = _digest(file) if way.trusted else None
            saturated(workers, [file], sha256=sha256)  # brings the scores
            found = saturated(workers, [file] * uploads, sha256=sha256)
            rows.append({"way": way.name, "backlog": uploads, "other_cores": len(others), **found})
    return rows


def by_backlog(bench: Bench, clip: Clip, backlogs: Sequence[int]) -> list[dict[str, Any]]:
    """Whether a verdict costs more when many uploads wait: it must not."""
    (file,) = bench.fresh(clip, 1)
    sha256 = _digest(file)
    with bench.workers(environment=STARTS_SOON | {TRUST: "true"}) as workers:
        saturated(workers, [file], sha256=sha256)
        return [
            {"backlog": backlog, **saturated(workers, [file] * backlog, sha256=sha256)}
            for backlog in backlogs
        ]


def in_process(clip: Clip, media: Path, seconds: float) -> list[dict[str, Any]]:
    """The route alone, on one thread and without a broker: what a verdict costs in Python."""
    configure_logging("error", "json")
    file = clip.path(media).resolve()
    return [_alone(file, trusted, seconds) for trusted in (False, True)]


def _alone(file: Path, trusted: bool, seconds: float) -> dict[str, Any]:
    settings = Settings(
        fetch=FetchSettings(file_roots=(file.parent,), trust_producer_digest=trusted),
        inference=InferenceSettings(max_batch_clips=1),
    )
    event = UploadEvent(
        upload_id="upload-1", uri=file.as_uri(), sha256=_digest(file) if trusted else None
    ).model_dump_json()
    with service(settings) as built:

        def verdict() -> str:
            upload = Upload(UploadEvent.model_validate_json(event))
            return built.moderator.moderate(upload, Deadline.after(built.clock, PATIENCE_S)).model_dump_json()

        verdict()  # brings the scores
        done, begun_s, begun_cpu_s = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - begun_s < seconds:
            verdict()
            done += 1
        cpu_s = time.process_time() - begun_cpu_s
    way = WAYS[1 if trusted else 0]
    return {"way": f"the route alone, {way.name}", "verdicts_per_cpu_s": round(done / cpu_s, 1)}


@contextmanager
def _cache(way: Way) -> Iterator[dict[str, str]]:
    variables = STARTS_SOON | ({TRUST: "true"} if way.trusted else {})
    if not way.shared:
        yield variables
        return
    with EmbeddedCache() as url:
        yield variables | {"SLUICE_CACHE__URL": url}


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
