"""Sight and sound fused late, early or by learnt weights, over an image network on every frame.

The fusions are those of ``fusion``; sound is dropped at random while training for the reason that
``audiovisual`` gives. With late or weighted fusion a silent video gets exactly the visual head's answer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.architectures.efficientnet_lite import LiteTrunk
from models.architectures.frame_cnn import PooledFrames, pooled_lite, pooled_resnet
from models.architectures.fusion import fusion_of
from models.architectures.sound import LogMelFront, SoundTrunk
from models.spec import VideoInput


class FusedAudioVisual(nn.Module):
    """Clips (N, T, H, W, 3) uint8, log_mel (N, frames, mels), has_audio (N,) 0 or 1 to (N, labels) logits."""

    def __init__(
        self, visual: PooledFrames, sound: SoundTrunk, fusion: nn.Module, sound_dropout: float
    ) -> None:
        super().__init__()
        self.visual = visual
        self.sound = sound
        self.fusion = fusion
        self.sound_dropout = sound_dropout  # share of training clips whose sound is taken away

    @property
    def pretrained(self) -> LiteTrunk | None:
        return self.visual.pretrained

    def forward(self, clips: Tensor, log_mel: Tensor, has_audio: Tensor) -> Tensor:
        logits: Tensor = self.fusion(self.visual(clips), self.sound(log_mel), self._kept(has_audio))
        return logits

    def _kept(self, has_audio: Tensor) -> Tensor:
        if not self.training:
            return has_audio
        return has_audio * (torch.rand_like(has_audio) >= self.sound_dropout).to(has_audio.dtype)


def build_frames_lite_av(
    video: VideoInput,
    labels: int,
    fusion: str = "late",
    size: int = 0,
    pooling: str = "difference",
    dropout: float = 0.5,
    sound_dropout: float = 0.5,
) -> FusedAudioVisual:
    return _fused(pooled_lite(size, pooling), labels, fusion, dropout, sound_dropout)


def build_frames_resnet_av(
    video: VideoInput,
    labels: int,
    fusion: str = "late",
    depth: int = 18,
    width: int = 64,
    pooling: str = "mean",
    dropout: float = 0.5,
    sound_dropout: float = 0.5,
) -> FusedAudioVisual:
    return _fused(pooled_resnet(depth, width, pooling), labels, fusion, dropout, sound_dropout)


def _fused(
    visual: PooledFrames, labels: int, fusion: str, dropout: float, sound_dropout: float
) -> FusedAudioVisual:
    sound = SoundTrunk(LogMelFront())
    both = fusion_of(fusion, visual.features, sound.features, labels, dropout)
    return FusedAudioVisual(visual, sound, both, sound_dropout)
