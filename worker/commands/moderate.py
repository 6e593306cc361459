"""`sluice moderate`: files in, verdicts out, without a broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from worker.app import Service, service
from worker.cache import MemoryCache
from worker.clock import Deadline
from worker.commands.progress import progress
from worker.commands.publish import new_upload_id
from worker.events import Upload
from worker.messages import UploadEvent, Verdict
from worker.settings import Settings
from worker.telemetry.logs import configure_logging


def moderate_files(settings: Settings, files: Sequence[Path], policy: str | None) -> None:
    """Print one JSON object a line, in the order of the files: `file` and the verdict's fields."""
    configure_logging("error", settings.telemetry.log_format)
    roots = tuple(sorted({file.resolve().parent for file in files}))
    fetch = settings.fetch.model_copy(update={"file_roots": roots})
    settings = settings.model_copy(update={"fetch": fetch})
    cache = MemoryCache(settings.cache.memory_entries, on_event=lambda _: None)
    with (
        service(settings, cache) as built,
        ThreadPoolExecutor(settings.worker.concurrency) as threads,
        progress("moderating", len(files)) as advance,
    ):
        timeout_s = settings.worker.upload_timeout_s
        answers = threads.map(lambda file: _moderate(built, file, policy, timeout_s), files)
        for file, verdict in zip(files, answers, strict=True):
            click.echo(json.dumps({"file": str(file), **verdict.model_dump(mode="json")}))
            advance(1)


def _moderate(built: Service, file: Path, policy: str | None, timeout_s: float) -> Verdict:
    event = UploadEvent(upload_id=new_upload_id(file.name), uri=file.resolve().as_uri(), policy=policy)
    return built.moderator.moderate(Upload(event), Deadline.after(built.clock, timeout_s))
