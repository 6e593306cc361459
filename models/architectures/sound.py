"""Networks that only listen: one trunk over three forms of the sound.

Each front makes a picture (N, frames, bands) of what it is given, ``AudioNet`` reads the picture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.architectures.audio import AudioNet
from models.architectures.motion import LinearHead
from models.spec import VideoInput


class LogMelFront(nn.Identity):
    """(N, frames, mels) log-mel as it is."""


class MfccFront(nn.Module):
    """(N, frames, mels) log-mel to (N, frames, coefficients): mel-frequency cepstral coefficients.

    The orthonormal cosine transform (type 2) of each frame (Davis and Mermelstein 1980); the number of
    mels is that of the input.
    """

    def __init__(self, mels: int, coefficients: int) -> None:
        super().__init__()
        self.register_buffer("cosines", cosine_transform(mels, coefficients), persistent=False)
        self.norm = nn.BatchNorm1d(coefficients)

    cosines: Tensor

    def forward(self, log_mel: Tensor) -> Tensor:
        cepstrum = log_mel @ self.cosines  # (N, frames, mels) @ (mels, coefficients)
        # Coefficients differ in size by far: each is standardised, as channels of (N, coefficients, frames).
        standardised: Tensor = self.norm(cepstrum.transpose(1, 2)).transpose(1, 2)
        return standardised


def cosine_transform(mels: int, coefficients: int) -> Tensor:
    """(mels, coefficients); its columns are orthonormal."""
    if coefficients > mels:
        raise ValueError(f"{coefficients} coefficients cannot come from {mels} mels")
    mel = torch.arange(mels, dtype=torch.float64) + 0.5
    order = torch.arange(coefficients, dtype=torch.float64)
    cosines = torch.cos(math.pi / mels * mel[:, None] * order) * math.sqrt(2.0 / mels)
    cosines[:, 0] /= math.sqrt(2.0)
    return cosines.float()


class WaveformFront(nn.Module):
    """(N, samples) waveform in [-1, 1] to (N, frames, filters): a filter bank that is learnt.

    EnvNet (Tokozume and Harada 2017): convolutions over time, whose channels then stand as the second axis
    of a picture. ``window`` and ``hop`` are in samples; 400 and 160 are 25 and 10 ms at 16 kHz.
    """

    def __init__(self, filters: int, window: int = 400, hop: int = 160) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, filters, window, stride=hop, padding=window // 2, bias=False),
            nn.BatchNorm1d(filters),
            nn.ReLU(inplace=True),
            nn.Conv1d(filters, filters, 3, padding=1, bias=False),
            nn.BatchNorm1d(filters),
            nn.ReLU(inplace=True),
        )

    def forward(self, waveform: Tensor) -> Tensor:
        filtered: Tensor = self.layers(waveform.unsqueeze(1))  # (N, 1, samples) to (N, filters, frames)
        return filtered.transpose(1, 2)


class SoundTrunk(nn.Module):
    """A front and ``AudioNet``: the sound in the form that the front takes, to (N, features)."""

    def __init__(self, front: LogMelFront | MfccFront | WaveformFront) -> None:
        super().__init__()
        self.front = front
        self.network = AudioNet()
        self.features = self.network.features

    def forward(self, sound: Tensor) -> Tensor:
        features: Tensor = self.network(self.front(sound))
        return features


class SoundOnly(nn.Module):
    """Sound, and has_audio (N,) 0 or 1, to (N, labels) logits; silence gets the head's offset.

    Takes the clips as well and does not look at them, so that it trains and is served like every other.
    """

    def __init__(self, trunk: SoundTrunk, labels: int, dropout: float) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = LinearHead(trunk.features, labels, dropout)

    def forward(self, clips: Tensor, sound: Tensor, has_audio: Tensor) -> Tensor:
        heard = self.trunk(sound) * has_audio.unsqueeze(1)
        logits: Tensor = self.head(heard)
        return logits


def build_audio_log_mel(video: VideoInput, labels: int, dropout: float = 0.5) -> SoundOnly:
    return SoundOnly(SoundTrunk(LogMelFront()), labels, dropout)


def build_audio_mfcc(
    video: VideoInput, labels: int, mels: int = 64, coefficients: int = 20, dropout: float = 0.5
) -> SoundOnly:
    return SoundOnly(SoundTrunk(MfccFront(mels, coefficients)), labels, dropout)


def build_audio_waveform(
    video: VideoInput, labels: int, filters: int = 64, dropout: float = 0.5
) -> SoundOnly:
    return SoundOnly(SoundTrunk(WaveformFront(filters)), labels, dropout)
