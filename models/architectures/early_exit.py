"""Early exits on R(2+1)D: easy clips are answered before the network's end.

Teerapittayanon et al. 2016, BranchyNet (arXiv 1709.01686). Exported, the network gives every exit's logits
and a pure function decides which of them counts; ``answer`` stops computing at that exit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.architectures.motion import LinearHead
from models.architectures.r2plus1d import R2Plus1D
from models.spec import VideoInput

Logits = npt.NDArray[np.float32]


class Trunk(nn.Module):
    """An R(2+1)D cut into its stages, without its head."""

    def __init__(self, network: R2Plus1D) -> None:
        super().__init__()
        self.normalise = network.normalise
        self.stages = nn.ModuleList(
            (
                nn.Sequential(network.stem, network.layer1),
                network.layer2,
                network.layer3,
                network.layer4,
            )
        )
        self.widths = tuple(network.features // 8 * factor for factor in (1, 2, 4, 8))


class EarlyExit(nn.Module):
    """(N, T, H, W, 3) uint8 clips to (N, exits, labels) logits, from the first exit to the last.

    An exit stands after each stage (0 to 3) of ``exits`` and after the last one.
    """

    def __init__(self, trunk: Trunk, exits: Sequence[int], labels: int, dropout: float) -> None:
        super().__init__()
        last = len(trunk.stages) - 1
        if any(not 0 <= stage <= last for stage in exits):
            raise ValueError(f"exits {tuple(exits)} must be stages, 0 to {last}")
        self.trunk = trunk
        self.exits = tuple(sorted({*exits, last}))
        self.heads = nn.ModuleDict(
            {str(stage): LinearHead(trunk.widths[stage], labels, dropout) for stage in self.exits}
        )

    def forward(self, clips: Tensor) -> Tensor:
        hidden = self.trunk.normalise(clips)
        answers: list[Tensor] = []
        for stage, layers in enumerate(self.trunk.stages):
            hidden = layers(hidden)
            if stage in self.exits:
                answers.append(self.heads[str(stage)](hidden.mean((2, 3, 4))))
        return torch.stack(answers, 1)

    @torch.inference_mode()
    def answer(self, clips: Tensor, confidence: float) -> Answer:
        """What ``chosen`` says of ``forward``, computing for each clip only as far as its exit."""
        logits = np.empty((len(clips), self._labels), np.float32)
        exits = np.full(len(clips), len(self.exits) - 1)
        undecided = np.arange(len(clips))
        hidden = self.trunk.normalise(clips)
        for stage, layers in enumerate(self.trunk.stages):
            hidden = layers(hidden)
            if stage not in self.exits:
                continue
            found = self.heads[str(stage)](hidden.mean((2, 3, 4))).numpy()
            sure = certainty(found) >= confidence
            logits[undecided] = found
            exits[undecided[sure]] = self.exits.index(stage)
            undecided, hidden = undecided[~sure], hidden[torch.from_numpy(~sure)]
            if not len(undecided):
                break
        return Answer(logits, exits)

    @property
    def _labels(self) -> int:
        head = self.heads[str(self.exits[-1])]
        assert isinstance(head, LinearHead)
        return head.fc.out_features


@dataclass(frozen=True)
class Answer:
    """One answer for each clip."""

    logits: Logits  # (N, labels)
    exits: npt.NDArray[np.int_]  # (N,), 0 is the first exit

    def rates(self, exits: int) -> tuple[float, ...]:
        """Share of the clips that left at each of the exits; they sum to 1."""
        counts = np.bincount(self.exits, minlength=exits)
        return tuple(float(count) / max(1, len(self.exits)) for count in counts)


def chosen(logits: Logits, confidence: float) -> Answer:
    """Of (N, exits, labels) logits, those of the first exit that is sure enough, else of the last."""
    sure = certainty(logits) >= confidence  # (N, exits)
    sure[:, -1] = True
    exits = sure.argmax(1)
    return Answer(logits[np.arange(len(logits)), exits], exits)


def certainty(logits: Logits) -> Logits:
    """(..., labels) logits to (...): the probability of the answer, of the least certain label; 0.5 to 1."""
    magnitude = np.abs(logits.astype(np.float64)).min(-1)
    return np.asarray(1.0 / (1.0 + np.exp(-magnitude)), np.float32)


def build_early_exit(
    video: VideoInput,
    labels: int,
    depth: int = 18,
    width: int = 64,
    exits: Sequence[int] = (1, 2),
    dropout: float = 0.5,
) -> EarlyExit:
    return EarlyExit(Trunk(R2Plus1D(depth, width, labels)), exits, labels, dropout)
