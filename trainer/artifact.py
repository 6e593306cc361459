"""Writes an artifact: weights, specification, metrics and card; all of it or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.architectures import registry
from models.spec import Embedding, Label, ModelSpec, write_spec
from trainer.card import card, learnt_from
from trainer.config import TrainConfig
from trainer.evaluation.beside import beside
from trainer.evaluation.elsewhere import ELSEWHERE_FILE, Elsewhere
from trainer.evaluation.held_out import CARD_FILE, HELD_OUT_FILE, METRICS_FILE, HeldOut
from trainer.evaluation.judge import Evaluation
from trainer.evaluation.speeds import Speed
from trainer.export import GateClosed, embedding_size
from trainer.gates import Replaced, accuracy_loss, int8_loss, replaced_by, slowness
from trainer.prune import pruned_arguments
from trainer.quantize import Agreement
from trainer.speed import measure
from trainer.variants import REFERENCE, UNMEASURED, Files, described, with_providers


@dataclass(frozen=True)
class Shipped:
    """The network trained on everything, exported in every form."""

    files: Files
    parity: float  # largest difference of logits to torch
    half: float | None  # the same of FP16 to FP32; None where that was left out
    agreements: Mapping[str, Agreement]  # of each INT8 variant with FP32


@dataclass(frozen=True)
class Evidence:
    """What was found out about the networks of the folds."""

    held_out: HeldOut  # of the main set
    aside: HeldOut  # of the further ones
    evaluation: Evaluation
    elsewhere: tuple[Elsewhere, ...]


@dataclass(frozen=True)
class Installation:
    """Where artifacts go, and whether one may replace its own version or one that is better."""

    artifacts: Path
    force: bool = False

    def place(self, config: TrainConfig) -> Path:
        """``<artifacts>/<name>/<version>``. Raises GateClosed where that is installed, unless forced."""
        place = self.artifacts / config.name / config.version
        if place.exists() and not self.force:
            raise GateClosed(
                f"{config.name} {config.version} is installed already, in {place}: raise `version` in the "
                f"configuration, or replace it by --force"
            )
        return place


def write_artifact(
    config: TrainConfig,
    evidence: Evidence,
    shipped: Shipped,
    installation: Installation,
    log: Callable[[str], None],
) -> Path:
    """Write to ``installation.place(config)``. Returns that folder.

    Raises GateClosed, and writes nothing, when INT8 loses too much, the version before was better, or this
    one is installed already.
    """
    place = installation.place(config)
    evaluation = evidence.evaluation
    replaced = replaced_by(config.name, installation.artifacts)
    unmeasured = _spec(config, evaluation, shipped)
    old = replaced.files if replaced else {}
    speeds = measure({**shipped.files, **old})
    for speed in speeds:
        log(f"{speed.variant} on {speed.provider}: {speed.median_ms_per_clip:.1f} ms a clip")
    check_gates(config, evaluation, speeds, replaced, installation.force, log)
    own = tuple(speed for speed in speeds if speed.variant not in old)
    spec = with_providers(unmeasured, own)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".writing-") as folder:
        fresh = Path(folder) / config.version
        fresh.mkdir()
        for variant in spec.variants:
            shutil.copyfile(shipped.files[variant.name], fresh / variant.file)
        write_spec(fresh, spec)
        simple = beside(config, evidence.held_out)
        metrics = _metrics(config, evidence, shipped, own) | {"baselines": [asdict(each) for each in simple]}
        (fresh / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n")
        evidence.held_out.write(fresh / HELD_OUT_FILE)
        if evidence.elsewhere:
            evidence.aside.write(fresh / ELSEWHERE_FILE)
        (fresh / CARD_FILE).write_text(card(config, spec, evaluation, own, evidence.elsewhere, simple))
        if place.exists():
            shutil.rmtree(place)
        fresh.rename(place)
    return place


def check_gates(
    config: TrainConfig,
    evaluation: Evaluation,
    speeds: Sequence[Speed],
    replaced: Replaced | None,
    force: bool,
    log: Callable[[str], None],
) -> None:
    """Raises GateClosed for an artifact that is worse than it may be; forced, it is only said."""
    complaints = int8_loss(evaluation, config.gate)
    if replaced:
        complaints += accuracy_loss(evaluation, config.data.manifest, replaced, config.gate)
        complaints += slowness(speeds, replaced, config.gate)
    if complaints and not force:
        raise GateClosed(f"not installed: {'; '.join(complaints)}. --force installs it all the same")
    for complaint in complaints:
        log(f"forced in spite of: {complaint}")


def _spec(config: TrainConfig, evaluation: Evaluation, shipped: Shipped) -> ModelSpec:
    size = embedding_size(shipped.files[REFERENCE])
    return ModelSpec(
        name=config.name,
        version=config.version,
        role=config.role,
        architecture=registry.describe(config.architecture.name, pruned_arguments(config)),
        labels=tuple(
            Label(
                name=target.name,
                parent=target.parent,
                threshold=judged.threshold,
                band=judged.band,
                training_prevalence=judged.prevalence,
                temperature=judged.calibration.temperature,
                bias=judged.calibration.bias,
            )
            for target, judged in zip(config.labels, evaluation.labels, strict=True)
        ),
        video=config.video,
        audio=config.audio,
        embedding=None if size is None else Embedding(size=size),
        aggregation=config.aggregation,
        fusion_weight=config.fusion_weight,
        variants=described(shipped.files),
        trained_on=f"{learnt_from(config)}; weights refitted on all of it, figures and calibration from "
        f"held-out folds by source",
    )


def _metrics(
    config: TrainConfig, evidence: Evidence, shipped: Shipped, speeds: tuple[Speed, ...]
) -> dict[str, Any]:
    return {
        "config": config.model_dump(mode="json", exclude={"data": {"root"}}),  # one machine's path
        "labels": [asdict(label) for label in evidence.evaluation.labels],
        "elsewhere": [asdict(found) for found in evidence.elsewhere],
        "export": {
            "largest_logit_difference": shipped.parity,
            "fp16_largest_logit_difference": shipped.half,
            "int8_agreement": {name: asdict(each) for name, each in shipped.agreements.items()},
            "unmeasured": dict(UNMEASURED),
        },
        "speed": [asdict(speed) for speed in speeds],
    }
