"""A small network and clips for it, for the tests of export and of what follows it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from models.architectures import registry
from models.spec import VideoInput
from trainer.data.dataset import Batch

VIDEO = VideoInput(frames=4, frame_rate_hz=8, height=32, width=32)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return registry.build("r2plus1d", {"depth": 10, "width": 4}, VIDEO, 1)


def batch(seed: int, video: VideoInput = VIDEO) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randint(0, 256, (4, *video.clip_shape), dtype=torch.uint8, generator=generator)
    # From dark to bright, so that the clips differ and so do their logits.
    scale = torch.linspace(0.1, 1.0, 4).view(-1, 1, 1, 1, 1)
    return Batch({"clips": (clips * scale).to(torch.uint8)}, torch.zeros(4, 1), np.zeros(4, np.int64))
