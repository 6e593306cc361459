"""What makes two runs the same run, so that one never goes on from the other's checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from trainer.data.dataset import VideoSet

# Sections and fields that training depends on; where the data lie and how often is saved are not among them.
SECTIONS = (
    *("labels", "video", "audio", "architecture", "init", "augment", "data", "fit"),
    *("distil", "prune", "quantise"),
)
IRRELEVANT = {"data": {"root", "note"}, "fit": {"checkpoint_steps", "checkpoints", "tensorboard"}}


def identity_of(videos: VideoSet, chosen: Sequence[int], seed: int) -> str:
    """A digest of the configuration, the seed and the chosen examples."""
    config = videos.config.model_dump(mode="json", include=set(SECTIONS))
    for section, names in IRRELEVANT.items():
        for name in names:
            del config[section][name]
    examples = [
        (example.name(example.path.parent), example.group, videos.targets[index].tolist())
        for index, example in ((index, videos.examples[index]) for index in chosen)
    ]
    text = json.dumps([config, seed, examples], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
