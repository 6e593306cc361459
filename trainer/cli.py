"""``sluice train``: an entry point of the trainer extra; also ``python -m trainer.cli train``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trainer.config import ConfigError, read_config
from trainer.config.pretrain import read_pretrain
from trainer.data.cli import dataset
from trainer.zoo.cli import zoo

DEFAULT_CACHE = Path("~/.cache/sluice/clips")
ARTIFACTS = Path(__file__).resolve().parent.parent / "models" / "artifacts"


@click.group()
def main() -> None:
    """Sluice's trainer."""


@main.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="YAML file.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data; default: the file's own.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=DEFAULT_CACHE,
    show_default=True,
    help="Where decoded clips are kept.",
)
@click.option(
    "--artifacts", type=click.Path(path_type=Path), default=ARTIFACTS, help="Where models are installed."
)
@click.option(
    "--jobs", type=click.IntRange(1), default=2, show_default=True, help="Folds trained side by side."
)
@click.option(
    "--init",
    help="Weights to start from, instead of the configuration's: a name or a file, with {fold} one a fold.",
)
@click.option(
    "--run-dir",
    "kept",
    type=click.Path(path_type=Path),
    help="Folder for logs, checkpoints and finished folds; a run that was cut off goes on from it.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Install a model that is worse or slower than the version it replaces, or of the same version.",
)
def train(
    config_file: Path,
    data: Path | None,
    cache: Path,
    artifacts: Path,
    jobs: int,
    init: str | None,
    kept: Path | None,
    force: bool,
) -> None:
    """Train, evaluate, export, quantise, calibrate and install a model."""
    try:
        config = read_config(config_file)
        # Here, so that a wrong file is told at once and without the trainer's heavy parts.
        from trainer.artifact import Installation
        from trainer.data.rolls import ClipCache
        from trainer.export import GateClosed
        from trainer.report.page import report_on
        from trainer.run import train as run
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; install the extra: pip install 'sluice[trainer]'") from error
    if data is not None:
        config = config.model_copy(update={"data": config.data.model_copy(update={"root": data})})
    try:
        if init is not None:
            config = type(config).model_validate({**config.model_dump(), "init": init})
        place = run(config, ClipCache(cache.expanduser()), Installation(artifacts, force), jobs, _say, kept)
    except (ValueError, GateClosed) as error:
        raise click.ClickException(str(error)) from error
    if place is not None:
        click.echo(f"installed {place}")
        click.echo(f"wrote {report_on(place)}")


@main.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="YAML file.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data; default: the file's own.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the weights go.")
@click.option("--cache", type=click.Path(path_type=Path), default=DEFAULT_CACHE, show_default=True)
@click.option("--fold", default="", help="Only for this fold of the reported set; default: all of them.")
def pretrain(config_file: Path, data: Path | None, out: Path, cache: Path, fold: str) -> None:
    """Learn from clips without labels; `init` of a training configuration takes the weights."""
    from trainer.data.rolls import ClipCache
    from trainer.pretrain import pretrain as run

    try:
        config = read_pretrain(config_file)
        if data is not None:
            config = config.model_copy(update={"root": data})
        for path in run(config, ClipCache(cache.expanduser()), out, _say, fold):
            click.echo(f"wrote {path}")
    except (ConfigError, ValueError) as error:
        raise click.ClickException(str(error)) from error


main.add_command(zoo)
main.add_command(dataset)


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
