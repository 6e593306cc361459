"""What a new artifact must hold beside the version that it replaces.

Each check gives complaints, sentences that say what was measured. ``write_artifact`` refuses an artifact that
has any, unless it is forced.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.spec import ModelSpec
from trainer.config import Gate
from trainer.evaluation.held_out import METRICS_FILE
from trainer.evaluation.judge import Evaluation
from trainer.evaluation.speeds import Speed
from worker.errors import ArtifactInvalid
from worker.inference.registry import find_artifact


@dataclass(frozen=True)
class Replaced:
    """The newest version of the same name, as it is installed."""

    folder: Path
    spec: ModelSpec
    aucs: dict[str, float]  # held-out, by label; empty where it has no figures
    trained_on: str  # its manifest

    @property
    def files(self) -> dict[str, Path]:
        """By names that no variant of the new artifact has."""
        return {
            f"{self.spec.version}/{variant.name}": self.folder / variant.file
            for variant in self.spec.variants
        }


def replaced_by(name: str, artifacts: Path) -> Replaced | None:
    try:
        artifact = find_artifact(name, artifacts)
    except ArtifactInvalid:
        return None
    if artifact.folder.parent.parent != artifacts:
        return None  # one that ships with Sluice, not one that would be replaced here
    try:
        metrics: dict[str, Any] = json.loads((artifact.folder / METRICS_FILE).read_bytes())
        aucs = {label["name"]: float(label["figures"]["auc"]) for label in metrics["labels"]}
        trained_on = str(metrics["config"]["data"]["manifest"])
    except (OSError, ValueError, KeyError):
        return Replaced(artifact.folder, artifact.spec, {}, "")
    return Replaced(artifact.folder, artifact.spec, aucs, trained_on)


def int8_loss(evaluation: Evaluation, gate: Gate) -> list[str]:
    """On held-out folds, by the networks that never saw them."""
    return [
        f"{label.name}: INT8 has AUC {label.figures.int8_auc:.3f} on the held-out folds and FP32 "
        f"{label.figures.auc:.3f}; allowed loss {gate.int8_auc} (try another `quantise.calibration`, or "
        f"`quantise.aware_epochs`)"
        for label in evaluation.labels
        if not label.figures.auc - label.figures.int8_auc <= gate.int8_auc
    ]


def accuracy_loss(evaluation: Evaluation, manifest: Path, replaced: Replaced, gate: Gate) -> list[str]:
    """On the same manifest only: figures on other data say nothing of each other."""
    if replaced.trained_on != str(manifest):
        return []
    return [
        f"{label.name}: held-out AUC {label.figures.auc:.3f} on {label.figures.videos} videos, and "
        f"{replaced.aucs[label.name]:.3f} of version {replaced.spec.version}; allowed loss {gate.auc}"
        for label in evaluation.labels
        if label.name in replaced.aucs and not replaced.aucs[label.name] - label.figures.auc <= gate.auc
    ]


def slowness(speeds: Sequence[Speed], replaced: Replaced, gate: Gate) -> list[str]:
    """The fastest variant of both on each provider; ``speeds`` holds both, measured side by side."""
    complaints = []
    old_names = set(replaced.files)
    for provider in sorted({speed.provider for speed in speeds}):
        here = [speed for speed in speeds if speed.provider == provider]
        old = min(speed.least_ms_per_clip for speed in here if speed.variant in old_names)
        new = min(speed.least_ms_per_clip for speed in here if speed.variant not in old_names)
        if new > gate.slower * old:
            complaints.append(
                f"{provider}: {new:.1f} ms a clip, and {old:.1f} ms of version {replaced.spec.version} "
                f"measured beside it; allowed is {gate.slower} times that"
            )
    return complaints
