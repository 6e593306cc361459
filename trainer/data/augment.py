"""Random training clips, the same change for every frame of a clip. The generator is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from models.spec import AudioInput, VideoInput
from trainer.config import Augment, FlowMethod
from trainer.data.colour import COLOURS, SHAPES, changed, drawn_changes, erased, recoloured
from trainer.data.flow import optical_flow
from trainer.data.footage import SILENCE
from trainer.data.hearing import louder, louder_samples, masked, noisy, noisy_samples
from trainer.data.rolls import Roll, Wanted
from trainer.data.views import training_start_s


@dataclass(frozen=True)
class Sample:
    """One clip; None: no sound, or the network does not take it."""

    clip: Tensor  # (T, H, W, 3) float32, 0..255; uint8 where nothing was changed
    log_mel: Tensor | None  # (frames, mels)
    waveform: Tensor | None = None  # (S,)
    flow: Tensor | None = None  # (T - 1, H, W, 2) uint8, of the clip before its colours were changed


def training_sample(roll: Roll, wanted: Wanted, augment: Augment, random: np.random.Generator) -> Sample:
    """One random clip of a video."""
    video = wanted.video
    more = random.spawn(1)[0]  # for what is off by default: switching it on leaves the rest as it was
    speed = float(np.exp(random.uniform(*np.log(augment.speed))))
    step_s = speed / video.frame_rate_hz
    length_s = len(roll.frames) / roll.frame_rate_hz
    start_s = training_start_s(augment.starts, length_s, video.frames * step_s, random)
    index = np.rint((start_s + np.arange(video.frames) * step_s) * roll.frame_rate_hz).astype(np.int64)
    frames = torch.from_numpy(np.asarray(roll.frames[np.minimum(index, len(roll.frames) - 1)]))
    changes = drawn_changes(augment, more)
    shown = changed(_cropped(frames, video, augment, random), changes, SHAPES)
    clip = changed(recoloured(shown, augment, random), changes, COLOURS).clamp(0.0, 255.0)
    if augment.erase and more.random() < augment.erase:
        clip = erased(clip, more)
    gain = (
        random.uniform(-1.0, 1.0) * augment.sound_gain if wanted.audio and roll.log_mel is not None else 0.0
    )
    return Sample(
        clip,
        _log_mel(roll, start_s, wanted.audio, gain, augment, more),
        _waveform(roll, start_s, wanted.audio, gain, augment, more),
        _flow(shown, wanted.flow) if wanted.flow else None,
    )


def _flow(clip: Tensor, method: FlowMethod) -> Tensor:
    pixels = clip.round().to(torch.uint8).numpy()
    return torch.from_numpy(optical_flow(pixels[None], method)[0])


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


def _log_mel(
    roll: Roll,
    start_s: float,
    audio: AudioInput | None,
    gain: float,
    augment: Augment,
    random: np.random.Generator,
) -> Tensor | None:
    """The spectrogram beside the clip, silence after its end."""
    if audio is None or roll.log_mel is None:
        return None
    first = round(start_s / audio.hop_s)
    part: npt.NDArray[np.float32] = roll.log_mel[first : first + audio.frames]
    padded = np.pad(part, ((0, audio.frames - len(part)), (0, 0)), constant_values=SILENCE)
    sound = louder(padded, gain)
    if augment.sound_noise:
        sound = noisy(sound, random.uniform(0.0, augment.sound_noise), random)
    return torch.from_numpy(masked(sound, augment.sound_masks, random))


def _waveform(
    roll: Roll,
    start_s: float,
    audio: AudioInput | None,
    gain: float,
    augment: Augment,
    random: np.random.Generator,
) -> Tensor | None:
    """The samples beside the clip, silence after their end."""
    if audio is None or roll.waveform is None:
        return None
    first, length = round(start_s * audio.sample_rate_hz), round(audio.clip_s * audio.sample_rate_hz)
    part: npt.NDArray[np.float32] = roll.waveform[first : first + length]
    sound = louder_samples(np.pad(part, (0, length - len(part))), gain)
    if augment.sound_noise:
        sound = noisy_samples(sound, random.uniform(0.0, augment.sound_noise), random)
    return torch.from_numpy(sound)
