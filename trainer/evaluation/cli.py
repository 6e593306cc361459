"""``sluice evaluate``: a report of installed artifacts from their held-out scores."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from models.spec import write_spec
from trainer.config import ConfigError
from trainer.evaluation.held_out import CARD_FILE, METRICS_FILE, HeldOutError, read_held_out
from trainer.evaluation.page import MARKER, cascade_table
from trainer.evaluation.summary import Artifact, Summary, Together, read_artifact, served_at, summarise
from trainer.zoo.table import filled

BAND_SAID = r"^(Threshold|Uncertainty band) .*?(?=\n\n|\Z)"  # the card's paragraph
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
    if data and (baseline_files or write_bands or documentation):
        raise click.UsageError("--baseline, --write-bands and --page are for held-out scores, not for --data")
    folders = tuple(folder for folder in (light, heavy) if folder is not None)
    try:
        if data and manifest and positives:
            page = _outside(folders, data, manifest, positives.split(","), out)
        else:
            page = _held_out(folders, baseline_files, out, write_bands, documentation)
    except (HeldOutError, ConfigError) as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; install the extra: pip install 'sluice[trainer]'") from error
    click.echo(f"wrote {page}")


def _held_out(
    folders: tuple[Path, ...],
    baseline_files: tuple[Path, ...],
    out: Path,
    write_bands: bool,
    documentation: Path | None,
) -> Path:
    from trainer.report.page import write_report  # matplotlib is slow to come

    artifacts = tuple(read_artifact(folder) for folder in folders)
    simple = {file.stem.replace("-", " "): read_held_out(file) for file in baseline_files}
    summary = summarise(artifacts[0], artifacts[1] if len(artifacts) > 1 else None, simple)
    page = write_report(summary, artifacts, out)
    if write_bands:
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
@click.option("--label", default="violence", show_default=True, help="What the models call it.")
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


def put_band(folder: Path, light: Artifact, summary: Summary) -> None:
    """The chosen band into ``spec.json``, ``metrics.json`` and the card; the weights stay as they are."""
    together = summary.together
    assert together is not None
    band = together.choice.band
    labels = [
        label.model_copy(update={"band": band}) if label.name == summary.label else label
        for label in light.spec.labels
    ]
    metrics = json.loads((folder / METRICS_FILE).read_text())
    for label in metrics["labels"]:
        if label["name"] == summary.label:
            label["band"] = list(band)
    metrics["cascade"] = {
        "recall_lost": together.choice.recall_lost,
        "cost": together.choice.cost,
        "met": together.choice.met,
        "verdict": together.verdict,
    }
    (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n")
    write_spec(folder, light.spec.model_copy(update={"labels": tuple(labels)}))
    told = folder / CARD_FILE
    if told.exists():
        said = re.sub(BAND_SAID, _said(together), told.read_text(), count=1, flags=re.DOTALL | re.MULTILINE)
        told.write_text(said)


def _said(together: Together) -> str:
    """For the card, in place of what it says of a band chosen for the filter alone."""
    choice, target = together.choice, together.target
    met = "Both are met" if choice.met else "Both cannot be met, and recall wins over cost"
    low, high = choice.band
    return (
        f"Uncertainty band [{low:.3f}, {high:.3f}) on calibrated probability, chosen for the cascade on the "
        f"held-out scores of all folds together:\nat most {target.recall_lost:.1%} of recall lost to the "
        f"escalation model on every clip, at no more than {target.cost:.0%} of its cost. {met}: "
        f"{choice.recall_lost:+.1%} lost at {choice.cost:.0%} of the cost."
    )
