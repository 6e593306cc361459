"""What a network takes, from the configuration, and batches of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from models.architectures.registry import FAMILIES
from trainer.config import ConfigError, Data, TrainConfig, Views
from trainer.data.augment import Sample
from trainer.data.footage import SILENCE
from trainer.data.rolls import Clips, Wanted
from trainer.data.views import crops


def wanted_of(config: TrainConfig) -> Wanted:
    """Raises ConfigError if the architecture is not known, or the configuration has not what it takes."""
    name = config.architecture.name
    family = FAMILIES.get(name)
    if family is None:
        raise ConfigError(f"architecture.name: {name!r} is not known, known: {', '.join(sorted(FAMILIES))}")
    if family.hears != (config.audio is not None):
        what = "is missing, and it hears" if family.hears else "is given, and it does not hear"
        raise ConfigError(f"architecture {name}: audio {what}")
    if family.flow and config.video.frames < 2:
        raise ConfigError(f"architecture {name}: optical flow needs video.frames of 2 or more")
    return Wanted(
        config.video,
        config.audio,
        waveform=family.hears and family.sound == "waveform",
        flow=config.data.flow if family.flow else None,
        sees=family.sees,
    )


def refuse_unserved(config: TrainConfig) -> None:
    """Raises ConfigError if serving would not give the network what it learns from or is judged on, or could
    not read its answer.
    """
    wanted = wanted_of(config)
    exits = FAMILIES[config.architecture.name].exits
    for lacks, taken in (
        ("give a network optical flow", wanted.flow),
        ("give a network a waveform", wanted.waveform),
        ("read one row of logits for each exit", exits),
    ):
        if taken:
            raise ConfigError(
                f"architecture {config.architecture.name}: serving does not {lacks}; "
                "`sluice zoo run` trains and measures it"
            )
    if config.data.views != Views():
        raise ConfigError("data.views: leave it out; a model that ships is judged on what serving takes")


def stacked(samples: Sequence[Sample], wanted: Wanted, names: Sequence[str]) -> Mapping[str, Tensor]:
    """The inputs of these names, in their order."""
    made = {"clips": torch.stack([sample.clip for sample in samples])}
    if wanted.flow:
        made["flow"] = torch.stack([sample.flow for sample in samples if sample.flow is not None])
    if wanted.audio is not None:
        audio = wanted.audio
        name, silence = "log_mel", torch.full((audio.frames, audio.mels), SILENCE)
        sounds = [sample.log_mel for sample in samples]
        if wanted.waveform:
            name, silence = "waveform", torch.zeros(round(audio.clip_s * audio.sample_rate_hz))
            sounds = [sample.waveform for sample in samples]
        made[name] = torch.stack([silence if sound is None else sound for sound in sounds])
        made["has_audio"] = torch.tensor([float(sound is not None) for sound in sounds])
    return {name: made[name] for name in names}


def wider(wanted: Wanted, data: Data) -> Wanted:
    """With room for crops beside each other."""
    width = round(wanted.video.width * (1 + data.margin))
    return replace(wanted, video=wanted.video.model_copy(update={"width": width}))


def samples_of(clips: Clips, width: int, count: int) -> list[Sample]:
    """Of each clip as it was decoded, ``count`` crops; see ``views.crops``."""
    return [
        Sample(
            picture,
            None if clips.log_mel is None else torch.from_numpy(clips.log_mel[index]),
            None if clips.waveform is None else torch.from_numpy(clips.waveform[index]),
            motion,
        )
        for index, frames in enumerate(clips.frames)
        for picture, motion in zip(
            crops(torch.from_numpy(np.array(frames)), width, count),
            [None] * count
            if clips.flow is None
            else crops(torch.from_numpy(np.array(clips.flow[index])), width, count),
            strict=True,
        )
    ]
