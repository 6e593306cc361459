"""``sluice retrieval``; also ``python -m trainer.retrieval.cli``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from trainer.config import ConfigError, read_config
from trainer.data.manifest import ManifestError, read_manifest
from worker.errors import ArtifactInvalid

CHECKOUT = Path(__file__).resolve().parents[2]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of the data.")
@click.option("--manifest", default="ucf101_mini/manifest.csv", show_default=True, help="In that folder.")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=CHECKOUT / "trainer" / "configs" / "filter.yaml",
    show_default=True,
    help="Whose network, as training starts from it, gives motion and appearance.",
)
@click.option("--model", default="", help="Also the embedding of this model: name or name@version.")
@click.option("--models-dir", type=click.Path(path_type=Path), help="Where it lies, if it did not ship.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=CHECKOUT / "benchmarks" / "results" / "retrieval.json",
    show_default=True,
)
@click.option("--page", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Gets the table.")
def retrieval(
    data: Path, manifest: str, file: Path, model: str, models_dir: Path | None, out: Path, page: Path | None
) -> None:
    """Measure which vectors find videos of the same label, and copies of a video."""
    from trainer.pages import filled
    from trainer.retrieval.features import of_artifact, of_network
    from trainer.retrieval.measure import measure
    from trainer.retrieval.table import MARKER, table

    try:
        examples = read_manifest(data / manifest, data)
        with tempfile.TemporaryDirectory() as folder:
            named = [of_artifact(model, models_dir)] if model else []
            sources = [*named, of_network(read_config(file), Path(folder))]
            report = {"manifest": manifest, **measure(examples, sources, click.echo)}
    except (ConfigError, ManifestError, ArtifactInvalid, ValueError) as error:
        raise click.ClickException(str(error)) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1) + "\n"
    out.write_text(text)
    click.echo(f"wrote {out}")
    if page is not None:
        page.write_text(filled(page.read_text(), {MARKER: table(json.loads(text))}))
        click.echo(f"wrote {page}")


if __name__ == "__main__":
    retrieval()
