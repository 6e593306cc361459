"""``sluice models add``: an entry point of the models extra."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from models.adopt.description import Description, Refused, preset_names, read_description
from models.adopt.install import Installed, install, load, onnx_file
from models.adopt.questions import answered, described, options
from worker.configuration import load_settings
from worker.inference.registry import SHIPPED

SETTING = {
    "filter": "SLUICE_INFERENCE__FILTER",
    "escalation": "SLUICE_INFERENCE__ESCALATION",
    "additional": "SLUICE_INFERENCE__ADDITIONAL",
}


@click.command(epilog=f"Presets: {', '.join(preset_names())}.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--spec", metavar="YAML|PRESET", help="A description of the network, instead of the questions.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of models; default: inference.models_dir, else where the shipped ones are.",
)
@options
def add(file: Path, spec: str | None, into: Path | None, **given: str | None) -> None:
    """Install FILE, any ONNX classifier of frames or clips, as a model that Sluice serves.

    FILE may be a wheel or zip file with one ONNX file inside. What no option says is asked for on a
    terminal. The network is wrapped, run, and compared with the file as it came; then it is written.
    """
    place = into or load_settings().inference.models_dir or SHIPPED
    try:
        installed = install(file, _description(file, spec, given), place)
    except Refused as error:
        raise click.ClickException(str(error)) from error
    for line in _report(installed, place):
        click.echo(line)


def _description(file: Path, spec: str | None, given: dict[str, str | None]) -> Description:
    if spec is None:
        with onnx_file(file) as inside:
            return described(answered(given, load(inside), ask=_is_terminal()))
    said = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if said:
        raise click.UsageError(f"--spec says it all; leave out {', '.join(said)}")
    return read_description(spec)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _report(installed: Installed, place: Path) -> list[str]:
    spec = installed.artifact.spec
    lines = [
        f"installed {installed.artifact.reference} in {installed.artifact.folder}",
        f"  labels: {', '.join(spec.label_names)}",
        f"  runs on: {', '.join(installed.providers)}; differs from the file by at most "
        f"{installed.largest_difference:.1e} in probability",
        f"serve it with {SETTING[spec.role]}={spec.name}",
    ]
    if place.resolve() not in (SHIPPED.resolve(), load_settings().inference.models_dir):
        lines.append(f"         and SLUICE_INFERENCE__MODELS_DIR={place}")
    return lines
