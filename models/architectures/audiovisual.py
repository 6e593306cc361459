"""Sight and sound fused late: features side by side, one linear layer over both.

Audio-visual SlowFast (Xiao et al. 2020, arXiv 2001.08740) names the danger: sound is learnt faster and
then leads. Dropping it at random while training keeps the visual pathway honest, and makes the network
one that works for silent video.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.architectures.audio import AudioNet
from models.architectures.efficientnet_lite import LiteTrunk
from models.architectures.motion import LinearHead
from models.architectures.slowfast import SlowFast
from models.architectures.slowfast_lite import SlowFastLite


class SlowFastTrunk(nn.Module):
    """A SlowFast without its head: clips to (N, features)."""

    def __init__(self, network: SlowFast) -> None:
        super().__init__()
        self.features = network.features
        network.blocks[6] = nn.Identity()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        return self.network.pooled(clips)


class AudioVisual(nn.Module):
    """Late fusion of a visual trunk and an audio network.

    clips (N, T, H, W, 3) uint8, log_mel (N, frames, mels) and has_audio (N,), 0 or 1, to (N, labels) logits.
    """

    def __init__(
        self, visual: SlowFastTrunk | SlowFastLite, labels: int, dropout: float, sound_dropout: float
    ) -> None:
        super().__init__()
        self.visual = visual
        self.sound_dropout = sound_dropout  # share of training clips whose sound is taken away
        self.audio = AudioNet()
        self.head = LinearHead(visual.features + self.audio.features, labels, dropout)

    @property
    def optional(self) -> slice:
        """Of the head's features, those that may be done without: sound's."""
        return slice(self.visual.features, self.visual.features + self.audio.features)

    @property
    def pretrained(self) -> LiteTrunk | None:
        return self.visual.slow if isinstance(self.visual, SlowFastLite) else None

    def forward(self, clips: Tensor, log_mel: Tensor, has_audio: Tensor) -> Tensor:
        heard = has_audio * self._kept(has_audio)
        sound = self.audio(log_mel) * heard.unsqueeze(1)
        logits: Tensor = self.head(torch.cat((self.visual(clips), sound), 1))
        return logits

    def _kept(self, has_audio: Tensor) -> Tensor:
        if not self.training:
            return torch.ones_like(has_audio)
        return (torch.rand_like(has_audio) >= self.sound_dropout).to(has_audio.dtype)
