"""Writes an artifact: weights, specification, metrics and card; all of it or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.architectures import registry
from models.spec import Label, ModelSpec, Variant, file_sha256, write_spec
from trainer.card import card
from trainer.config import TrainConfig
from trainer.evaluate import Evaluation
from trainer.quantize import Agreement
from trainer.speed import Speed, measure

METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
GPU_PROVIDERS = ("cuda", "tensorrt")


@dataclass(frozen=True)
class Shipped:
    """The network trained on everything, exported."""

    fp32: Path
    int8: Path
    parity: float  # largest difference of logits to torch
    agreement: Agreement


def write_artifact(
    config: TrainConfig, evaluation: Evaluation, shipped: Shipped, artifacts: Path, log: Callable[[str], None]
) -> Path:
    """Write to ``artifacts/<name>/<version>``, replacing what is there. Returns that folder."""
    place = artifacts / config.name / config.version
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".writing-") as folder:
        fresh = Path(folder) / config.version
        fresh.mkdir()
        unmeasured = _spec(config, evaluation, shipped, fresh)
        speeds = measure(unmeasured, fresh)
        for speed in speeds:
            log(f"{speed.variant} on {speed.provider}: {speed.median_ms_per_clip:.1f} ms a clip")
        spec = with_providers(unmeasured, speeds)
        write_spec(fresh, spec)
        metrics = _metrics(config, evaluation, shipped, speeds)
        (fresh / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n")
        (fresh / CARD_FILE).write_text(card(config, spec, evaluation, speeds))
        if place.exists():
            shutil.rmtree(place)
        fresh.rename(place)
    return place


def _spec(config: TrainConfig, evaluation: Evaluation, shipped: Shipped, folder: Path) -> ModelSpec:
    return ModelSpec(
        name=config.name,
        version=config.version,
        role=config.role,
        architecture=registry.describe(config.architecture.name, config.architecture.arguments),
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
        aggregation=config.aggregation,
        variants=(
            _variant(shipped.int8, folder, "int8", "int8"),
            _variant(shipped.fp32, folder, "fp32", "fp32"),
        ),
        trained_on=f"{config.data.note or config.data.manifest}; weights refitted on all of it, "
        f"figures and calibration from held-out folds by source",
    )


def with_providers(spec: ModelSpec, speeds: Sequence[Speed]) -> ModelSpec:
    """Each provider named by the variant that was fastest on it; GPUs, not measured here, by FP32.

    The CUDA provider has no INT8 convolutions, so FP32 is the safe one there.
    """
    fastest: dict[str, str] = {}
    for speed in sorted(speeds, key=lambda speed: speed.least_ms_per_clip, reverse=True):
        fastest[speed.provider] = speed.variant
    fastest |= dict.fromkeys(GPU_PROVIDERS, "fp32")
    variants = tuple(
        variant.model_copy(
            update={"providers": tuple(p for p, name in fastest.items() if name == variant.name)}
        )
        for variant in spec.variants
    )
    return spec.model_copy(update={"variants": variants})


def _variant(source: Path, folder: Path, name: str, precision: Any) -> Variant:
    file = folder / f"{name}.onnx"
    shutil.copyfile(source, file)
    return Variant(
        name=name,
        file=file.name,
        sha256=file_sha256(file),
        size_bytes=file.stat().st_size,
        precision=precision,
        providers=(),
    )


def _metrics(
    config: TrainConfig, evaluation: Evaluation, shipped: Shipped, speeds: tuple[Speed, ...]
) -> dict[str, Any]:
    return {
        "config": config.model_dump(mode="json", exclude={"data": {"root"}}),  # one machine's path
        "labels": [asdict(label) for label in evaluation.labels],
        "export": {"largest_logit_difference": shipped.parity, "int8_agreement": asdict(shipped.agreement)},
        "speed": [asdict(speed) for speed in speeds],
    }
