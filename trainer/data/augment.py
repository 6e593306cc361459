"""Random training clips, the same change for every frame of a clip. The generator is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models.spec import AudioInput, VideoInput
from trainer.config import Augment
from trainer.data.rolls import Roll


@dataclass(frozen=True)
class Sample:
    clip: Tensor  # (T, H, W, 3) float32, 0..255
    log_mel: Tensor | None  # (frames, mels)


def training_sample(
    roll: Roll, video: VideoInput, audio: AudioInput | None, augment: Augment, random: np.random.Generator
) -> Sample:
    """One random clip of a video."""
    speed = float(np.exp(random.uniform(*np.log(augment.speed))))
    step_s = speed / video.frame_rate_hz
    start_s = random.uniform(0.0, max(0.0, len(roll.frames) / roll.frame_rate_hz - video.frames * step_s))
    index = np.rint((start_s + np.arange(video.frames) * step_s) * roll.frame_rate_hz).astype(np.int64)
    frames = torch.from_numpy(np.asarray(roll.frames[np.minimum(index, len(roll.frames) - 1)]))
    clip = _recoloured(_cropped(frames, video, augment, random), augment, random)
    return Sample(clip, _sound(roll, start_s, audio, augment, random))


def _cropped(frames: Tensor, video: VideoInput, augment: Augment, random: np.random.Generator) -> Tensor:
    """(T, H, W, 3) uint8 to (T, height, width, 3) float32, cropped and perhaps mirrored."""
    _, height, width, _ = frames.shape
    side = float(np.sqrt(random.uniform(*augment.area)))
    ratio = float(np.sqrt(augment.stretch ** random.uniform(-1.0, 1.0)))
    crop_height = max(1, round(height * min(1.0, side * ratio)))
    crop_width = max(1, round(width * min(1.0, side / ratio)))
    top = int(random.integers(height - crop_height + 1))
    left = int(random.integers(width - crop_width + 1))
    crop = frames[:, top : top + crop_height, left : left + crop_width]
    if random.random() < augment.flip:
        crop = crop.flip(2)
    planes = crop.permute(0, 3, 1, 2).float()
    size = (video.height, video.width)
    scaled = functional.interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)
    return scaled.permute(0, 2, 3, 1)


def _recoloured(clip: Tensor, augment: Augment, random: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation, each by a random factor; now and then no colour at all."""
    brightness, contrast, saturation = 1.0 + augment.light * random.uniform(-1.0, 1.0, 3)
    if random.random() < augment.grey:
        saturation = 0.0
    clip = clip * brightness
    clip = (clip - clip.mean()) * contrast + clip.mean()
    grey = clip.mean(-1, keepdim=True)
    result: Tensor = ((clip - grey) * saturation + grey).clamp(0.0, 255.0)
    return result


def _sound(
    roll: Roll, start_s: float, audio: AudioInput | None, augment: Augment, random: np.random.Generator
) -> Tensor | None:
    """The spectrogram beside the clip, silence after its end."""
    if audio is None or roll.log_mel is None:
        return None
    first = round(start_s / audio.hop_s)
    part: npt.NDArray[np.float32] = roll.log_mel[first : first + audio.frames]
    padded = np.pad(part, ((0, audio.frames - len(part)), (0, 0)), constant_values=-1.0)
    gain = random.uniform(-1.0, 1.0) * augment.sound_gain
    return torch.from_numpy(np.maximum(padded + np.float32(gain), -1.0).astype(np.float32))
