"""One network of a run, from its training videos alone: taught, trained, cut, rounded.

1. Teachers, if any, learn from the same videos and say what each of them is.
2. The network is trained; what its head learns in closed form learns from soft labels too.
3. Channels inside of blocks are cut, the least important first, and the rest is trained again.
4. It is trained once more with INT8's rounding simulated.

Steps that the configuration does not ask for are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.architectures.motion import LinearHead
from trainer.config import Fit, TrainConfig
from trainer.data.dataset import VideoSet
from trainer.data.split import Split
from trainer.distill import Distilled, Lessons, lessons, soft_targets
from trainer.fit import Objective, Progress, Start, fit, objective_of, of_fold, start_of
from trainer.prune import cut, importance
from trainer.qat import rounding

JUDGING_EPOCHS = 2  # over the training videos, to see what a channel matters


@dataclass(frozen=True)
class Learner:
    """What every step of one network shares. ``folder`` keeps what was trained, for a run that goes on."""

    videos: VideoSet
    split: Split
    seed: int
    progress: Progress
    folder: Path | None = None

    def network(self) -> nn.Module:
        """Learnt from ``split.train``. Raises ValueError if it would start from what it must not know."""
        return replace(self, videos=of_fold(self.videos, self.split))._learnt()

    def _learnt(self) -> nn.Module:
        config = self.videos.config
        chosen = self.split.train
        taught = lessons(self.videos, chosen, self._teacher) if config.distil.teachers else None
        network = self._trained(taught)
        objective = self._objective(network, taught)
        if config.prune.share:
            randoms = np.random.default_rng(self.seed)
            batches = (
                batch
                for _ in range(JUDGING_EPOCHS)
                for batch in self.videos.training_batches(chosen, randoms)
            )
            matters = importance(network, batches, objective_of(config.fit))
            cut(network, config.prune.share, matters)
            self._again(network, objective, config.prune.epochs, "pruned")
        if config.quantise.aware_epochs:
            with rounding(network, config.quantise.float_convolutions):
                self._again(network, objective, config.quantise.aware_epochs, "rounded")
        return network.eval()

    def _trained(self, taught: Lessons | None) -> nn.Module:
        chosen, place = self.split.train, self._place("trained")
        if taught is None:
            return fit(self.videos, chosen, self.seed, self.progress, folder=place)
        torch.manual_seed(self.seed)  # for its fresh weights, whether or not teachers were trained before it
        start = start_of(self.videos.config)
        return fit(
            self.videos,
            chosen,
            self.seed,
            self.progress,
            start=start,
            objective=self._objective(start.network, taught),
            soft=soft_targets(self.videos, taught),
            folder=place,
        )

    def _again(self, network: nn.Module, objective: Objective, epochs: int, name: str) -> None:
        """All weights learn, as slowly as pretrained ones do, and statistics stay."""
        if not epochs:
            return
        known = Start(network, frozenset(network.state_dict()))
        videos = _with_fit(self.videos, epochs=epochs, probe_views=0, head_epochs=0, frozen_blocks=0)
        place = self._place(name)
        chosen = self.split.train
        fit(videos, chosen, self.seed, self.progress, start=known, objective=objective, folder=place)

    def _objective(self, network: nn.Module, taught: Lessons | None) -> Objective:
        config = self.videos.config
        if taught is None:
            return objective_of(config.fit)
        torch.manual_seed(self.seed)  # for its own layer, whether or not training came before it
        head = getattr(network, "head", None)
        features = head.fc.in_features if isinstance(head, LinearHead) else 0
        return Distilled(config.fit, config.distil, taught, features)

    def _teacher(self, videos: VideoSet, chosen: Sequence[int], name: str) -> nn.Module:
        videos = of_fold(videos, self.split)
        return fit(videos, chosen, self.seed, self.progress, folder=self._place(name))

    def _place(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / name


def _with_fit(videos: VideoSet, **changes: object) -> VideoSet:
    config: TrainConfig = videos.config
    changed: Fit = config.fit.model_copy(update=changes)
    return replace(videos, config=config.model_copy(update={"fit": changed}))
