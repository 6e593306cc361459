"""`sluice embed`: what a model knows of files, as vectors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import numpy as np

from worker.cascade.aggregate import video_embedding
from worker.clock import Clock, Deadline, SystemClock
from worker.errors import SluiceError
from worker.inference.registry import find_artifact
from worker.inference.session import Session, open_session
from worker.inference.types import Embeddings, Inputs, joined
from worker.media.pool import DecodePool
from worker.media.sampling import plan_from_settings
from worker.media.source import MediaSource
from worker.media.types import Decoded, DecodeRequest
from worker.messages import Embedding
from worker.settings import Settings
from worker.similarity import Clip, Embedded, write_atomically
from worker.telemetry.logs import configure_logging

DIGITS = 6


class Embedder:
    """Files through one model. Open it with ``embedder``."""

    def __init__(
        self, settings: Settings, session: Session, pool: DecodePool, source: MediaSource, clock: Clock
    ) -> None:
        self._settings = settings
        self._session = session
        self._pool = pool
        self._source = source
        self._clock = clock

    def embed(self, files: Sequence[Path]) -> Iterator[tuple[Path, Embedded | SluiceError]]:
        """In the order of the files. The next ones are decoded while one is in the network."""
        ahead = self._settings.decode.processes
        rest = iter(files)
        with ThreadPoolExecutor(ahead) as threads:
            pending: deque[tuple[Path, Future[tuple[str, Decoded]]]] = deque()
            while True:
                while len(pending) < ahead and (file := next(rest, None)) is not None:
                    pending.append((file, threads.submit(self._decoded, file)))
                if not pending:
                    return
                file, future = pending.popleft()
                try:
                    yield file, self._embedded(file, *future.result())
                except SluiceError as error:
                    yield file, error

    def _decoded(self, file: Path) -> tuple[str, Decoded]:
        """The digest of its bytes, and its clips at the same places as when it is moderated."""
        spec = self._session.spec
        deadline = Deadline.after(self._clock, self._settings.worker.upload_timeout_s)
        media = self._source.fetch(file.resolve().as_uri(), None, None, deadline)
        try:
            plan = plan_from_settings(self._settings.sampling, media.sha256)
            return media.sha256, self._pool.decode(
                media, DecodeRequest(plan, spec.video, spec.audio), deadline
            )
        finally:
            media.close()

    def _embedded(self, file: Path, sha256: str, decoded: Decoded) -> Embedded:
        spec, most = self._session.spec, self._settings.inference.max_batch_clips
        given = Inputs(decoded.clips, decoded.log_mel)
        parts = [given.cut(start, start + most) for start in range(0, len(given), most)]
        found = [self._session.run(joined([part], spec)).embeddings for part in parts]
        clips = np.concatenate([part for part in found if part is not None])
        return Embedded(
            id=str(file),
            sha256=sha256,
            embedding=Embedding(
                model=f"{spec.name}@{spec.version}",
                model_sha256=self._session.variant.sha256,
                vector=_rounded(video_embedding(clips)),
            ),
            clips=tuple(
                Clip(start_s=round(start_s, 3), vector=_rounded(clip))
                for start_s, clip in zip(decoded.starts_s, clips, strict=True)
            ),
        )


@contextmanager
def embedder(settings: Settings, files: Sequence[Path], model: str = "") -> Iterator[Embedder]:
    """``model``: name or name@version; empty: the settings' filter.

    Raises ClickException for a model that has no embedding.
    """
    configure_logging("error", settings.telemetry.log_format)
    inference = settings.inference
    artifact = find_artifact(model or inference.filter, inference.models_dir)
    if artifact.spec.embedding is None:
        raise click.ClickException(
            f"model {artifact.reference} has no embedding; name one that was exported with "
            "`embedding: true` by --model or `inference.filter`"
        )
    roots = tuple(sorted({file.resolve().parent for file in files}))
    clock = SystemClock()
    with ExitStack() as stack:
        pool = stack.enter_context(DecodePool(settings.decode, clock))
        source = MediaSource(settings.fetch.model_copy(update={"file_roots": roots}), clock)
        stack.callback(source.close)
        variant = "" if model else inference.variant
        session = open_session(
            artifact, provider=inference.provider, variant=variant, threads=inference.threads
        )
        yield Embedder(settings, session, pool, source, clock)


def embed_files(settings: Settings, files: Sequence[Path], model: str, out: Path | None, clips: bool) -> None:
    """One line a file, on standard output or in ``out``. Raises ClickException when a file gave none."""
    lines, failed = [], 0
    with embedder(settings, files, model) as opened:
        for file, found in opened.embed(files):
            if isinstance(found, SluiceError):
                failed += 1
                click.echo(f"{file}: {found.reason}: {found}", err=True)
                continue
            line = found.model_dump_json(exclude=None if clips else {"clips"})
            if out is None:
                click.echo(line)
            else:
                lines.append(line + "\n")
    if out is not None:
        write_atomically(out, "".join(lines).encode())
    if failed:
        raise click.ClickException(f"{failed} of {len(files)} files gave no embedding")


def _rounded(vector: Embeddings) -> tuple[float, ...]:
    return tuple(round(float(value), DIGITS) for value in vector)
