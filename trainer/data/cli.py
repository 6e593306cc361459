"""``sluice dataset``: manifests out of folders, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainer.data.builders import BUILDERS, MEDIA, TEXTS, Listing, folder_per_class, written
from trainer.data.manifest import Example, ManifestError, read_manifest

if TYPE_CHECKING:  # it needs the decoder, and building a manifest does not
    from trainer.data.check import Seen

NEAR_AT_MOST = 500  # examples; of more, how near each is to each takes too long
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group()
def dataset() -> None:
    """Make manifests of sets of videos and sounds, and check them."""


@dataset.command()
@click.argument("kind", type=click.Choice(list(BUILDERS)))
@click.argument("folder", type=FOLDER)
@click.option("--data", type=FOLDER, help="Folder that paths are relative to; default: FOLDER itself.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: manifest.csv in FOLDER.")
@click.option(
    "--group", default="", help="Of kind folder: a pattern; what is in its first brackets is the source."
)
def build(kind: str, folder: Path, data: Path | None, out: Path | None, group: str) -> None:
    """Write the manifest of a set of this KIND that lies in FOLDER."""
    if group and kind != "folder":
        raise click.UsageError(f"--group is for kind folder; {kind} knows its sources")
    root = (data or folder).resolve()
    if not folder.resolve().is_relative_to(root):
        raise click.UsageError(f"--data {root} does not hold {folder}")
    try:
        listing = listed(folder)
        rows = folder_per_class(listing, group) if kind == "folder" else BUILDERS[kind](listing)
    except ManifestError as error:
        raise click.ClickException(f"{folder}: {error}") from error
    prefix = folder.resolve().relative_to(root).as_posix()
    place = out or folder / "manifest.csv"
    place.write_text(written(rows, "" if prefix == "." else f"{prefix}/"), encoding="utf-8")
    sources = len({row.group for row in rows})
    click.echo(f"wrote {place}: {len(rows)} examples of {sources} sources")
    if kind == "folder" and not group:
        click.echo("every file counts as a source of its own; if several were cut from one, use --group")


@dataset.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--data", type=FOLDER, help="Folder that paths are relative to; default: the manifest's.")
@click.option(
    "--also", type=click.Path(path_type=Path), multiple=True, help="Another set's; may be repeated."
)
def check(manifest: Path, data: Path | None, also: tuple[Path, ...]) -> None:
    """Say what MANIFEST holds; fail if files cannot be read or sources are torn."""
    root = data or manifest.parent
    try:
        examples = read_manifest(manifest, root)
        others = {other: read_manifest(other, data or other.parent) for other in also}
    except ManifestError as error:
        raise click.ClickException(str(error)) from error
    found = list(_findings(examples, others))
    for line in found:
        click.echo(f"PROBLEM {line}", err=True)
    if found:
        raise click.ClickException(f"{manifest}: {len(found)} problem(s)")


def listed(folder: Path) -> Listing:
    """What a builder looks at; hidden files are left out."""
    paths = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in MEDIA and path.is_file() and not path.name.startswith(".")
    )
    return Listing(paths, {name: _text(folder / name) for name in TEXTS if (folder / name).is_file()})


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")  # spreadsheets put a mark before the first column's name
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path.name}: {error}") from error


def _findings(examples: Sequence[Example], others: dict[Path, tuple[Example, ...]]) -> Iterator[str]:
    """Says what is there as it goes; gives what is wrong."""
    from trainer.data import check as checks

    for line in checks.counts(examples):
        click.echo(line)
    yield from checks.torn(examples)
    for other, theirs in others.items():
        groups = checks.shared(examples, theirs)
        # No problem: training leaves out what shares a source with the fold that is tested.
        click.echo(
            f"{other}: {len(groups)} sources are here too" + (f", such as {groups[0]}" if groups else "")
        )
    seen, broken = checks.look(examples, click.echo)
    yield from (f"{place}: {why}" for place, why in broken.items())
    yield from checks.twins(examples, seen)
    for line in _short_cuts(examples, seen):
        click.echo(line)


def _short_cuts(examples: Sequence[Example], seen: dict[Path, Seen]) -> Iterator[str]:
    """How well the files' metadata alone tell each label, on grouped folds: what a model has to beat."""
    import numpy as np

    from trainer.baselines import described, held_out_scores
    from trainer.metrics import roc_auc

    infos = {path: file.info for path, file in seen.items() if file.info is not None}
    kept = [example for example in examples if example.path in infos]
    if not kept:
        return
    features = np.stack([described(infos[each.path], each.path.stat().st_size) for each in kept])
    by_nearness = len(kept) <= NEAR_AT_MOST
    way = "how near the files' metadata are to each other's" if by_nearness else "the files' metadata alone"
    yield f"AUC of a logistic regression on {way}, on folds by source; 0.5 is chance:"
    for label in sorted({label for example in kept for label in example.labels}):
        try:
            held_out = held_out_scores(kept, Path("/"), label, [label], features, by_nearness=by_nearness)
        except ValueError as error:
            yield f"  {label}: none, {error}"
            continue
        scores = np.array([float(each[0, 0]) for each in held_out.scores])
        yield f"  {label}: {roc_auc(held_out.targets[:, 0].astype(np.float64), scores):.2f}"
