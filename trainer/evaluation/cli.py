"""``sluice evaluate``: a report of installed artifacts from their held-out scores."""

from __future__ import annotations

from pathlib import Path

import click

from trainer.config import ConfigError
from trainer.evaluation.held_out import HeldOutError, read_held_out
from trainer.evaluation.page import MARKER, cascade_table
from trainer.evaluation.refresh import put_band, refresh
from trainer.evaluation.summary import read_artifact, served_at, summarise
from trainer.pages import filled

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.option("--filter", "light", type=FOLDER, required=True, help="Folder of the filter's artifact.")
@click.option("--escalation", "heavy", type=FOLDER, help="Folder of the escalation model's artifact.")
@click.option(
    "--baseline",
    "baseline_files",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Held-out scores to compare with, of the same videos and folds; may be given several times.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the report.")
@click.option(
    "--write-bands", is_flag=True, help="Put the band chosen for the cascade into the filter's artifact."
)
@click.option(
    "--write-cards", is_flag=True, help="Compute the figures in metrics.json anew, and write the cards."
)
@click.option(
    "--page",
    "documentation",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Put the table of the cascade between this page's markers.",
)
@click.option("--data", type=FOLDER, help="Judge what is served on the videos of this folder instead.")
@click.option("--manifest", type=click.Path(path_type=Path), help="Their labels; relative to --data.")
@click.option("--positives", help="Labels of the manifest that count, by comma.")
def evaluate(
    light: Path,
    heavy: Path | None,
    baseline_files: tuple[Path, ...],
    out: Path,
    write_bands: bool,
    write_cards: bool,
    documentation: Path | None,
    data: Path | None,
    manifest: Path | None,
    positives: str | None,
) -> None:
    """Report what held-out scores say, which needs neither data nor torch; or judge a set from outside."""
    if write_bands and heavy is None:
        raise click.UsageError("--write-bands chooses a band for two models: name --escalation")
    if len({data is None, manifest is None, positives is None}) > 1:
        raise click.UsageError("--data, --manifest and --positives belong together")
    if data and (baseline_files or write_bands or write_cards or documentation):
        raise click.UsageError(
            "--baseline, --write-bands, --write-cards and --page are for held-out scores, not for --data"
        )
    folders = tuple(folder for folder in (light, heavy) if folder is not None)
    try:
        if data and manifest and positives:
            page = _outside(folders, data, manifest, positives.split(","), out)
        else:
            page = _held_out(folders, baseline_files, out, documentation, bands=write_bands)
            for folder in folders if write_cards else folders[: int(write_bands)]:
                refresh(folder)
    except (HeldOutError, ConfigError) as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; install the extra: pip install 'sluice[trainer]'") from error
    click.echo(f"wrote {page}")


def _held_out(
    folders: tuple[Path, ...],
    baseline_files: tuple[Path, ...],
    out: Path,
    documentation: Path | None,
    *,
    bands: bool,
) -> Path:
    from trainer.report.page import write_report  # matplotlib is slow to come

    artifacts = tuple(read_artifact(folder) for folder in folders)
    simple = {file.stem.replace("-", " "): read_held_out(file) for file in baseline_files}
    summary = summarise(artifacts[0], artifacts[1] if len(artifacts) > 1 else None, simple)
    page = write_report(summary, artifacts, out)
    if bands:
        put_band(folders[0], artifacts[0], summary)
    if documentation:
        documentation.write_text(filled(documentation.read_text(), {MARKER: cascade_table(summary)}))
    if summary.together:
        click.echo(summary.together.verdict)
    return page


def _outside(folders: tuple[Path, ...], data: Path, manifest: Path, positives: list[str], out: Path) -> Path:
    from trainer.data.manifest import ManifestError, read_manifest
    from trainer.evaluation.outside import evaluate_outside
    from trainer.report.page import write_report

    try:
        examples = read_manifest(data / manifest, data)
    except ManifestError as error:
        raise click.ClickException(str(error)) from error
    found = evaluate_outside(folders, examples, positives)
    return write_report(found.summary, [served_at(folder) for folder in folders], out, found.mistakes)


@click.command()
@click.option("--data", type=FOLDER, required=True, help="Folder of the data.")
@click.option("--manifest", type=click.Path(path_type=Path), required=True, help="Relative to --data.")
@click.option("--positives", required=True, help="Labels of the manifest that count, by comma.")
@click.option("--label", required=True, help="What the models call it, in `labels` of their configuration.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the two files.")
def baselines(data: Path, manifest: Path, positives: str, label: str, out: Path) -> None:
    """Write held-out scores of two simple baselines, for `sluice evaluate --baseline`."""
    try:
        from trainer.baselines import write_baselines  # torch is slow to come

        for file in write_baselines(data, manifest, label, positives.split(","), out):
            click.echo(f"wrote {file}")
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; install the extra: pip install 'sluice[trainer]'") from error
