"""What has to be known of a foreign network beside its ONNX file, and how it is read from YAML.

A preset (`models/presets/*.yaml`) is such a description of a network that anybody can download.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.spec import Aggregation, Label, Name, Role, Sha256, VideoInput

PRESETS = Path(__file__).resolve().parent.parent / "presets"

Layout = Literal["NCHW", "NHWC", "NTHWC", "NCTHW", "NTCHW"]
Scores = Literal["logits", "softmax_logits", "sigmoid", "softmax"]
Size = Annotated[int, Field(ge=1, le=1024)]
PerChannel = tuple[float, float, float]


class Refused(Exception):
    """A model that is not installed; the message names what was found and what to do."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NetworkInput(_Strict):
    """What the network wants: (pixel * scale - mean) / std, in its own order of axes and channels."""

    name: str = Field("", description="of the graph's input; empty: the only one")
    layout: Layout = Field(description="a T in it: the network takes clips; else frames, scored one by one")
    channels: Literal["RGB", "BGR"] = "RGB"
    crop: tuple[Size, Size] | None = Field(
        None, description="(height, width) cut from the middle of a frame of `video`; None: the whole frame"
    )
    scale: float = Field(1.0, gt=0, description="pixels from 0 to 255 are multiplied by it")
    mean: PerChannel = Field((0.0, 0.0, 0.0), description="in the order of `channels`")
    std: PerChannel = Field((1.0, 1.0, 1.0), description="in the order of `channels`")

    @model_validator(mode="after")
    def _std_divides(self) -> Self:
        if min(self.std) <= 0:
            raise ValueError(f"std {list(self.std)}: each must be above 0")
        return self


class NetworkOutput(_Strict):
    name: str = Field("", description="of the graph's output; empty: the only one")
    scores: Scores = Field(
        description="logits: each class on its own, before a sigmoid; softmax_logits: before a softmax; "
        "sigmoid, softmax: probabilities after one"
    )


class OutputLabel(Label):
    """A label, and the classes of the network that it is made of."""

    outputs: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = Field(
        description="indices of classes; several, of a softmax only: their probabilities are added"
    )


class Description(_Strict):
    """One foreign network."""

    name: Name
    version: Name = "1"
    role: Role = "additional"
    labels: tuple[OutputLabel, ...] = Field(min_length=1)
    video: VideoInput = Field(description="the clip that is decoded for it")
    input: NetworkInput
    output: NetworkOutput
    pool: Literal["max", "mean"] = Field(
        "max", description="how frame scores become the clip's: the highest probability or their mean"
    )
    aggregation: Aggregation = Aggregation()
    fusion_weight: float = Field(1.0, gt=0, le=1)
    taxonomy: str = "sluice-1"
    source: str = Field(min_length=1, description="where the network comes from, in a sentence")
    licence: str = Field(min_length=1, description="of the weights")
    sha256: Sha256 | None = Field(None, description="of the ONNX file; another file is refused")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        height, width = self.input_size
        if height > self.video.height or width > self.video.width:
            raise ValueError(
                f"input.crop {height}x{width} is larger than the frame {self.video.height}x{self.video.width}"
            )
        if self.output.scores in ("logits", "sigmoid"):
            for label in self.labels:
                if len(label.outputs) > 1:
                    raise ValueError(
                        f"label {label.name}: probabilities can be added after a softmax only, "
                        f"and output.scores is {self.output.scores}"
                    )
        return self

    @property
    def takes_clips(self) -> bool:
        return "T" in self.input.layout

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of a frame as the network takes it."""
        return self.input.crop or (self.video.height, self.video.width)


def preset_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def read_description(reference: str) -> Description:
    """From a YAML file, or a preset by its name. Raises Refused naming the field that is wrong."""
    path = PRESETS / f"{reference}.yaml" if reference in preset_names() else Path(reference)
    try:
        return parse(yaml.safe_load(path.read_bytes()), str(path))
    except OSError as error:
        raise Refused(
            f"{reference}: cannot be read: {error.strerror}; accepted: a YAML file, or a preset: "
            f"{', '.join(preset_names())}"
        ) from error
    except yaml.YAMLError as error:
        raise Refused(f"{path}: not YAML: {error}") from error


def parse(tree: object, where: str) -> Description:
    try:
        return Description.model_validate(tree)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, detail['loc'])) or 'description'}: {detail['msg']}"
            for detail in error.errors(include_url=False)
        )
        raise Refused(f"{where}: {'; '.join(problems)}") from error
