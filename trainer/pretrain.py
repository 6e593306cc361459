"""``sluice pretrain``: VideoMAE learns from clips without labels, for fine-tuning to start from.

Tong et al. 2022 (arXiv 2203.12602). Pictures of a reported fold could be learnt without its labels; we do
not: the sources of the fold are left out, so that a figure on it says what new footage would say. So there is
one file of weights for each fold of the reported set, and one of everything for the network that ships.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.architectures.videomae import VideoMae, build_videomae_pretraining, hidden_positions, tube_mask
from models.architectures.vit import TransformerSize
from trainer.config import TrainConfig
from trainer.config.pretrain import Pretrain
from trainer.data.dataset import Batch, VideoSet
from trainer.data.manifest import Example, read_manifest
from trainer.data.rolls import ClipCache
from trainer.data.split import grouped_folds
from trainer.fit import Start, fit, threads
from trainer.fit.checkpoint import save_weights
from trainer.weights import note_of

WHOLE = "everything"

Log = Callable[[str], None]


@dataclass(frozen=True)
class Rebuild:
    """The objective: the error of what is rebuilt behind a tube mask that is drawn for every clip."""

    share: float

    def __call__(self, network: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(network, VideoMae)
        clips = batch.inputs["clips"]
        mask = tube_mask(network.cut.grid, len(clips), self.share).to(clips.device)
        loss: Tensor = network(clips, mask)
        return loss


def pretrain(config: Pretrain, cache: ClipCache, out: Path, log: Log, fold: str = "") -> tuple[Path, ...]:
    """Write ``<fold>.safetensors`` into ``out`` for the named fold, or for all and for everything.

    A run that was killed goes on from its checkpoints in ``out``. Raises ValueError for an unknown fold and
    for a mask that would leave nothing to see.
    """
    examples = tuple(
        example for name in config.manifests for example in read_manifest(config.root / name, config.root)
    )
    hidden_positions(_network(config).cut.grid, config.masked)
    left_out = _groups_by_fold(config)
    if fold and fold not in left_out:
        raise ValueError(f"no fold {fold!r}, there are: {', '.join(left_out)}")
    chosen = [fold] if fold else list(left_out)
    return tuple(_pretrained(config, cache, out, name, examples, left_out[name], log) for name in chosen)


def _pretrained(
    config: Pretrain,
    cache: ClipCache,
    out: Path,
    fold: str,
    examples: Sequence[Example],
    without: frozenset[str],
    log: Log,
) -> Path:
    videos = _unlabelled(config, cache, [e for e in examples if e.group not in without])
    log(f"fold {fold}: {len(videos.examples)} of {len(examples)} videos")
    torch.manual_seed(config.fit.seed)
    network = _network(config)
    with threads(1):
        learnt = fit(
            videos,
            range(len(videos.examples)),
            config.fit.seed,
            lambda epoch, loss: log(f"fold {fold}: epoch {epoch} loss {loss:.4f}"),
            start=Start(network),
            objective=Rebuild(config.masked),
            folder=out / fold,
        )
    path = out / f"{fold}.safetensors"
    kept = {name: value for name, value in learnt.state_dict().items() if name.startswith("encoder.")}
    save_weights(kept, path, note_of(example.group for example in videos.examples))
    return path


def _network(config: Pretrain) -> VideoMae:
    return build_videomae_pretraining(
        config.video, decoder=TransformerSize(**config.decoder), **config.arguments
    )


def _groups_by_fold(config: Pretrain) -> dict[str, frozenset[str]]:
    """Sources that each file of weights must not have seen."""
    found: dict[str, frozenset[str]] = {}
    if config.reported is not None:
        examples = read_manifest(config.root / config.reported, config.root)
        for split in grouped_folds(examples, config.folds):
            found[split.name] = frozenset(examples[index].group for index in split.test)
    return {**found, WHOLE: frozenset()}


def _unlabelled(config: Pretrain, cache: ClipCache, examples: Sequence[Example]) -> VideoSet:
    """The loop wants a configuration of a classifier and targets; the objective looks at neither."""
    made = TrainConfig.model_validate(
        {
            "name": "pretraining",
            "version": "0",
            "role": "filter",
            "data": {
                "root": config.root,
                "manifest": config.manifests[0],
                "roll_seconds": config.roll_seconds,
            },
            "labels": [{"name": "none", "positives": ["none"]}],
            "video": config.video,
            "architecture": {"name": "videomae", "arguments": config.arguments},
            "augment": config.augment,
            "fit": config.fit,
        }
    )
    count = len(examples)
    return VideoSet(
        made,
        cache,
        tuple(examples),
        targets=np.zeros((count, 1), np.float32),
        weights=np.ones(count),
        sets=np.zeros(count, np.int64),
    )
