"""What a network is fed with. Apart from the data sets, so that exporting needs no video decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """``inputs`` by name, in the order in which the network takes them; see ``registry.Family.inputs``:

    clips (N, T, H, W, 3) uint8, or float32 0..255; flow (N, T - 1, H, W, 2) uint8, see ``data.flow``;
    log_mel (N, frames, mels), or waveform (N, S) float32 in [-1, 1], silence where there is no sound;
    has_audio (N,) float32, 0 or 1.
    """

    inputs: Mapping[str, Tensor]
    targets: Tensor  # (N, L) float32, 0 to 1; nan: not known, and not learnt from
    members: npt.NDArray[np.int64]  # (N,): the example that each clip comes from

    def __len__(self) -> int:
        return len(self.members)

    def to(self, device: torch.device) -> Batch:
        inputs = {name: value.to(device, non_blocking=True) for name, value in self.inputs.items()}
        return Batch(inputs, self.targets.to(device, non_blocking=True), self.members)
