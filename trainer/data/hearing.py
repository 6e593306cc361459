"""Changes of sound, as a spectrogram or as samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.preprocess import FLOOR_DB
from trainer.data.footage import SILENCE

Sound = npt.NDArray[np.float32]

SCALE_DB = -FLOOR_DB / 2  # of one unit of the spectrogram
WIDEST_MASK = 0.2  # of the axis


def louder(log_mel: Sound, gain: float) -> Sound:
    """``gain`` on the spectrogram's own scale, whose unit is 50 dB."""
    changed: Sound = np.maximum(log_mel + np.float32(gain), SILENCE).astype(np.float32)
    return changed


def louder_samples(samples: Sound, gain: float) -> Sound:
    """By as much as ``louder``."""
    changed: Sound = np.clip(samples * 10.0 ** (gain * SCALE_DB / 20), -1.0, 1.0).astype(np.float32)
    return changed


def noisy(log_mel: Sound, level: float, random: np.random.Generator) -> Sound:
    """With noise of this amplitude, as a share of full scale, in every band.

    Powers of noise are exponentially distributed.
    """
    power = 10.0 ** ((log_mel - 1.0) * SCALE_DB / 10) + level**2 * random.exponential(size=log_mel.shape)
    return np.maximum(10.0 * np.log10(power) / SCALE_DB + 1.0, SILENCE).astype(np.float32)


def noisy_samples(samples: Sound, level: float, random: np.random.Generator) -> Sound:
    return np.clip(samples + level * random.standard_normal(samples.shape), -1.0, 1.0).astype(np.float32)


def masked(log_mel: Sound, masks: int, random: np.random.Generator) -> Sound:
    """With ``masks`` stretches of time and as many bands silent.

    SpecAugment: Park et al. 2019, arXiv 1904.08779.
    """
    result = log_mel.copy()
    for _ in range(masks):
        for axis in (0, 1):
            size = result.shape[axis]
            width = int(random.integers(round(WIDEST_MASK * size) + 1))
            first = int(random.integers(size - width + 1))
            hidden = slice(first, first + width)
            result[(hidden, slice(None)) if axis == 0 else (slice(None), hidden)] = SILENCE
    return result
