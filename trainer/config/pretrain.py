"""Self-supervised pre-training, read from a YAML file."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from models.spec import VideoInput
from trainer.config.base import Section, read_section
from trainer.config.data import Augment
from trainer.config.fit import Fit


class Pretrain(Section):
    """VideoMAE on clips whose labels are not looked at."""

    root: Path = Field(Path("data"), description="folder that the manifests' paths are relative to")
    manifests: tuple[Path, ...] = Field(min_length=1, description="sets to learn from; relative to root")
    reported: Path | None = Field(
        None,
        description="manifest of the reported set: each of its folds gets weights that never saw its sources",
    )
    folds: int = Field(5, ge=2, description="grouped folds of the reported set where it fixes none")
    roll_seconds: float = Field(6.0, gt=0, description="how much of a video clips are drawn from")
    video: VideoInput
    arguments: dict[str, int] = Field(
        default_factory=dict, description="of the architecture videomae, as fine-tuning will have them"
    )
    decoder: dict[str, int] = Field(
        default_factory=lambda: {"dimension": 64, "depth": 1, "heads": 2}, description="size of the decoder"
    )
    masked: float = Field(0.9, gt=0, lt=1, description="share of the positions that is hidden")
    augment: Augment = Augment()
    fit: Fit


def read_pretrain(path: Path) -> Pretrain:
    """Raises ConfigError naming the file and the field."""
    return read_section(path, Pretrain)
