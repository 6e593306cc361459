"""What is learnt from: the examples, what counts as positive, how clips vary."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from models.spec import Name
from trainer.config.base import Section, Share

FlowMethod = Literal["dis", "farneback"]
Starts = Literal["random", "uniform", "dense"]


class FurtherSet(Section):
    """Examples that are learnt from beside the set that is reported on.

    Each fold's network leaves a fold of all further sets out as well, by group; those tell what the network
    says of footage from elsewhere.
    """

    manifest: Path = Field(description="as the main set's, relative to root")
    note: str = Field("", description="what the set is, for the model card")
    weight: float = Field(1.0, gt=0, description="of all its examples together; the main set's is 1")
    positives: dict[Name, tuple[str, ...]] = Field(
        default_factory=dict, description="by name of a target: labels that mean yes; all others mean no"
    )
    unknown: tuple[Name, ...] = Field((), description="targets of which the set says nothing")
    leave_out: tuple[str, ...] = Field((), description="labels whose examples are not used")


class Views(Section):
    """What of a video is looked at when it is scored; the defaults are what serving does."""

    plan: Literal["uniform", "sliding"] = Field("uniform", description="evenly spaced, or one every hop_s")
    hop_s: float = Field(1.0, gt=0, description="of the sliding window")
    crops: Literal[1, 3] = Field(
        1, description="3: left, middle and right of pictures that are wider by data.margin"
    )


class Data(Section):
    root: Path = Field(Path("data"), description="folder that the manifest's paths are relative to")
    manifest: Path = Field(description="CSV with path, label, group and perhaps fold; relative to root")
    note: str = Field("", description="what the set is, for the model card")
    also: tuple[FurtherSet, ...] = ()
    folds: int = Field(5, ge=2, description="number of grouped folds where the manifest fixes none")
    roll_seconds: float = Field(
        6.0, gt=0, description="how much of a video's beginning clips are drawn from; at most 256 frames"
    )
    oversampling: int = Field(2, ge=1, le=4, description="frames decoded for each frame of the input")
    margin: float = Field(0.15, ge=0, le=1, description="rolls are this much higher and wider than the input")
    flow: FlowMethod = Field("dis", description="how optical flow is found, for networks that take it")
    clips: int | None = Field(
        None,
        ge=1,
        description="most clips of a video when it is scored, evenly spaced; none: what a worker takes of it",
    )
    views: Views = Field(Views(), description="how these clips are taken")


class Target(Section):
    """One output of the network."""

    name: Name
    parent: str = ""
    positives: tuple[str, ...] = Field(min_length=1, description="manifest labels that mean yes")


class Augment(Section):
    """How much clips vary while training."""

    starts: Starts = Field(
        "random", description="anywhere; or one of first, middle, last; or one of clips back to back"
    )
    speed: tuple[float, float] = Field((0.8, 1.25), description="factor on the frame distance, log-uniform")
    area: tuple[Share, Share] = Field((0.5, 1.0), description="share of the picture that a crop keeps")
    stretch: float = Field(1.25, ge=1.0, description="largest change of the aspect ratio, as a factor")
    flip: Share = Field(0.5, description="share of clips mirrored")
    light: float = Field(
        0.4, ge=0.0, lt=1.0, description="brightness, contrast and colour change by up to this"
    )
    grey: Share = Field(0.1, description="share of clips without colour")
    changes: int = Field(0, ge=0, description="RandAugment: changes of colours or shape that are drawn")
    strength: Share = Field(0.3, description="of each of these changes; 1 is the strongest")
    erase: Share = Field(0.0, description="share of clips with a box of noise")
    mixup: float = Field(0.0, ge=0, description="clips are blended in shares drawn from Beta(this, this)")
    cutmix: float = Field(
        0.0, ge=0, description="a box comes from another clip; its share by Beta(this, this)"
    )
    sound_gain: float = Field(0.2, ge=0.0, description="offset of the log-mel scale, up to this")
    sound_noise: Share = Field(0.0, description="loudest noise added, as a share of full scale")
    sound_masks: int = Field(0, ge=0, description="stretches and bands of the log-mel scale silenced, each")
