"""`sluice models pull`: versions of models from a store into the folder that workers read."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.configuration import load_settings
from worker.errors import SluiceError

if TYPE_CHECKING:
    from worker.inference.store import ModelFolder, ModelUri


@click.command()
@click.argument("uris", nargs=-1, required=True, metavar="URI...")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of models; default: the settings' inference.models_dir.",
)
@click.option(
    "--variant", "variants", multiple=True, help="Only these weights; may be repeated. Default: all."
)
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=1),
    help="Look again after so many seconds, until SIGTERM; of #newest, other versions in the folder go.",
)
def pull(uris: Sequence[str], folder: Path | None, variants: Sequence[str], every_s: float | None) -> None:
    """Bring versions of models from a store into a folder, whole and verified.

    URI: s3://, https:// or file:// and .../NAME/VERSION, the folder of a spec.json. With
    #sha256=DIGEST behind it, another spec.json than this one is refused, and so are other weights.
    s3://.../NAME#newest is the newest version there. The settings fetch.* apply: endpoint and keys
    of the store, file_roots, max_bytes and the rest; s3_buckets does not, which is for uploads.
    """
    from worker.clock import SystemClock
    from worker.inference.store import ModelFolder, ModelUri
    from worker.media.source import MediaSource

    settings = load_settings()
    folder = folder or settings.inference.models_dir
    if folder is None:
        raise click.ClickException("no folder to bring models into: --to DIR, or set inference.models_dir")
    wanted = [ModelUri.parse(uri) for uri in uris]
    clock = SystemClock()
    fetch = settings.fetch.model_copy(update={"s3_buckets": ("*",)})
    with ends_well(), closing(MediaSource(fetch, clock, folder=folder)) as source:
        models = ModelFolder(folder, source, clock, variants)
        if every_s is None:
            for uri in wanted:
                brought = models.bring(uri)
                click.echo(f"{'brought' if brought.fetched else 'already there':<14}{brought.pinned}")
        else:
            watch(models, wanted, every_s)


@contextmanager
def ends_well() -> Iterator[None]:
    """On SIGTERM what is half fetched goes away."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def watch(models: ModelFolder, wanted: Sequence[ModelUri], every_s: float) -> None:
    """Never returns. What goes wrong is told once, not at each look."""
    wrong: set[str] = set()
    while True:
        changes, errors = look(models, wanted)
        for line in changes:
            click.echo(line)
        for line in errors:
            if line not in wrong:
                click.echo(f"Error: {line}", err=True)
        wrong = set(errors)
        time.sleep(every_s)


def look(models: ModelFolder, wanted: Sequence[ModelUri]) -> tuple[list[str], list[str]]:
    """(what has changed, what went wrong). One that fails keeps none of the others from coming."""
    changes, errors = [], []
    here: dict[str, set[str]] = {uri.name: set() for uri in wanted}
    incomplete = set()
    for uri in wanted:
        try:
            brought = models.bring(uri)
        except SluiceError as error:
            errors.append(str(error))
            incomplete.add(uri.name)
        else:
            here[uri.name].add(brought.artifact.spec.version)
            if brought.fetched:
                changes.append(f"brought       {brought.pinned}")
    for name in sorted({uri.name for uri in wanted if not uri.version} - incomplete):
        try:
            changes += [f"taken away    {name}@{version}" for version in models.keep_only(name, here[name])]
        except SluiceError as error:
            errors.append(str(error))
    return changes, errors
