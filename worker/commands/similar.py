"""`sluice similar`: an index of past uploads, added to and searched."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import click

from worker.commands.embed import embedder
from worker.errors import SluiceError
from worker.settings import Settings
from worker.similarity import Embedded, Entry, Index, IndexUnusable, locked, parsed

STANDARD_INPUT = "-"
LINES = ".jsonl"  # a file of embeddings or verdicts; any other is a video
BATCH = 256  # vectors that are written together
LONGEST_WAIT_S = 5.0  # after which fewer are written too, as soon as another line comes


def add(settings: Settings, folder: Path, sources: Sequence[str], model: str) -> None:
    """Write batch by batch: what was written before an error, or Ctrl-C, stays."""
    for source in sources:
        if source != STANDARD_INPUT and not Path(source).is_file():
            raise click.ClickException(f"{source} is not a file")
    added = left_out = count = 0
    for batch in _batches(settings, sources, model):
        usable = [each for each in batch if each.embedding is not None]
        left_out += len(batch) - len(usable)
        if usable:
            count = _write(folder, usable)
            added += len(usable)
    without = f"; {left_out} verdicts without an embedding left out" if left_out else ""
    if not added:
        raise click.ClickException(
            f"nothing was added{without}. Verdicts carry an embedding with `inference.embeddings` and a "
            "filter that has one"
        )
    click.echo(f"{added} added{without}; {folder} holds {count}")


def search(settings: Settings, folder: Path, query: str, *, count: int, model: str, as_json: bool) -> None:
    """Print the nearest to an id of the index, or to a video file."""
    with _as_messages(folder):
        try:
            index = Index.read(folder)
        except FileNotFoundError:
            raise click.ClickException(f"{folder} is no index: `sluice similar add` makes one") from None
        known = query in index
        if known:
            vector = index.vector(query)
        else:
            found = _embedded_file(settings, Path(query), model)
            assert found.embedding is not None
            vector = index.checked(found.embedding)
        for match in index.search(vector, count, without=query if known else None):
            click.echo(match.model_dump_json() if as_json else f"{match.cosine:.4f}  {match.id}")


def _embedded_file(settings: Settings, file: Path, model: str) -> Embedded:
    if not file.is_file():
        raise click.ClickException(f"{file} is neither an id of the index nor a file")
    with embedder(settings, [file], model) as opened:
        ((_, found),) = opened.embed([file])
    if isinstance(found, SluiceError):
        raise click.ClickException(f"{file}: {found.reason}: {found}")
    return found


def _batches(settings: Settings, sources: Sequence[str], model: str) -> Iterator[list[Embedded]]:
    videos = []
    for source in sources:
        if source == STANDARD_INPUT:
            yield from _parsed("standard input", sys.stdin)
        elif source.endswith(LINES):
            with Path(source).open(errors="replace") as lines:
                yield from _parsed(source, lines)
        else:
            videos.append(Path(source))
    if videos:
        yield from _of_videos(settings, videos, model)


def _parsed(source: str, lines: Iterable[str]) -> Iterator[list[Embedded]]:
    first = 1
    for chunk in _chunks(lines):
        try:
            yield parsed(chunk)
        except ValueError as error:
            place = f"lines {first} to {first + len(chunk) - 1}" if len(chunk) > 1 else f"line {first}"
            raise click.ClickException(f"{source}, {place}: {error}") from None
        first += len(chunk)


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Ctrl-C ends the stream as its end does."""
    chunk: list[str] = []
    begun_s = time.monotonic()
    try:
        for line in lines:
            chunk.append(line)
            if len(chunk) == BATCH or time.monotonic() - begun_s > LONGEST_WAIT_S:
                yield chunk
                chunk, begun_s = [], time.monotonic()
    except KeyboardInterrupt:
        pass
    if chunk:
        yield chunk


def _of_videos(settings: Settings, files: Sequence[Path], model: str) -> Iterator[list[Embedded]]:
    with embedder(settings, files, model) as opened:
        answers = opened.embed(files)
        while chunk := list(islice(answers, BATCH)):
            for file, found in chunk:
                if isinstance(found, SluiceError):
                    click.echo(f"{file}: {found.reason}: {found}", err=True)
            yield [found for _, found in chunk if isinstance(found, Embedded)]


def _write(folder: Path, batch: Sequence[Embedded]) -> int:
    """All of them or none. Returns how many the index holds."""
    with _as_messages(folder), locked(folder):
        try:
            index = Index.read(folder)
        except FileNotFoundError:
            index = _fresh(batch[0])
        for each in batch:
            assert each.embedding is not None
            try:
                index.add(Entry(id=each.id, sha256=each.sha256), each.embedding)
            except IndexUnusable as error:
                raise IndexUnusable(f"{each.id}: {error}") from error
        index.save(folder)
        return len(index)


def _fresh(first: Embedded) -> Index:
    assert first.embedding is not None
    return Index(first.embedding.model, first.embedding.model_sha256, len(first.embedding.vector))


@contextmanager
def _as_messages(folder: Path) -> Iterator[None]:
    try:
        yield
    except (IndexUnusable, OSError) as error:
        raise click.ClickException(f"index {folder}: {error}") from error
