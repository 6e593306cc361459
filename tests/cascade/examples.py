"""Specs and scores in a line each, for tables."""

from __future__ import annotations

import numpy as np

from models.spec import Aggregation, Label, ModelSpec, Variant, VideoInput
from worker.cascade.decide import Outcome
from worker.cascade.policy import Policies, load_policies
from worker.cascade.policy_file import PolicyFile
from worker.cascade.types import ContentScores, Look, StageScores
from worker.media.types import MediaInfo

CLIP_S = 2.0
MAX = Aggregation(method="max")


def spec(
    role: str = "filter",
    labels: tuple[str, ...] = ("violence",),
    *,
    threshold: float = 0.5,
    band: tuple[float, float] = (0.3, 0.8),
    prevalence: float = 0.5,
    aggregation: Aggregation = MAX,
    fusion_weight: float = 1.0,
) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "name": f"test-{role}",
            "version": "1",
            "role": role,
            "architecture": "none",
            "labels": [
                Label(name=name, threshold=threshold, band=band, training_prevalence=prevalence)
                for name in labels
            ],
            "video": VideoInput(frames=8, frame_rate_hz=4, height=16, width=16),
            "aggregation": aggregation,
            "fusion_weight": fusion_weight,
            "variants": [
                Variant(
                    name="fp32",
                    file="m.onnx",
                    sha256="0" * 64,
                    size_bytes=1,
                    precision="fp32",
                    providers=("cpu",),
                )
            ],
            "trained_on": "nothing",
        }
    )


FILTER = spec("filter")
ESCALATION = spec("escalation")


def policies(
    text: str = "",
    filter_spec: ModelSpec = FILTER,
    escalation_spec: ModelSpec | None = ESCALATION,
    max_escalated_clips: int = 16,
    additional: tuple[ModelSpec, ...] = (),
) -> Policies:
    file = PolicyFile.parse(text.encode(), "policy.yaml") if text else None
    first = (filter_spec, *additional)
    return load_policies(file, first, escalation_spec, max_escalated_clips=max_escalated_clips)


def stage(clips: list[float] | dict[float, float], label: str = "violence") -> StageScores:
    """Probabilities of one label: a list starts at 0 s, clip after clip; a dict says where."""
    at = clips if isinstance(clips, dict) else {i * CLIP_S: p for i, p in enumerate(clips)}
    return StageScores(
        labels=(label,),
        starts_s=tuple(at),
        clip_s=CLIP_S,
        probabilities=np.array([*at.values()], np.float32).reshape(-1, 1),
    )


def look(
    clips: list[float] | dict[float, float],
    escalation_clips: dict[float, float] | None = None,
    label: str = "violence",
) -> Look:
    return Look(stage(clips, label), None if escalation_clips is None else stage(escalation_clips, label))


def content(
    filter_clips: list[float] | dict[float, float],
    escalation_clips: dict[float, float] | None = None,
    duration_s: float = 60.0,
) -> ContentScores:
    return ContentScores(
        info=MediaInfo("mp4", "h264", 640, 360, 30.0, duration_s, has_audio=True),
        looks=(look(filter_clips, escalation_clips),),
    )


def shown(outcome: Outcome) -> list[tuple[float, float]]:
    """The segments' intervals."""
    return [(segment.start_s, segment.end_s) for segment in outcome.segments]
