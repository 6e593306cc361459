"""What makes two runs the same run, so that one never goes on from the other's checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from trainer.config.train import FILES
from trainer.data.dataset import VideoSet

# Sections and fields that training depends on; where the data lie and how often is saved are not among them.
SECTIONS = (
    *("labels", "video", "audio", "architecture", "init", "augment", "data", "fit"),
    *("distil", "prune", "quantise"),
)
IRRELEVANT = {"data": {"root", "note"}, "fit": {"checkpoint_steps", "checkpoints", "tensorboard"}}


def identity_of(videos: VideoSet, chosen: Sequence[int], seed: int) -> str:
    """A digest of the configuration, the weights that it starts from, the seed and the chosen examples."""
    config = videos.config.model_dump(mode="json", include=set(SECTIONS))
    for section, names in IRRELEVANT.items():
        for name in names:
            del config[section][name]
    config["init"] = _content(videos.config.init)
    examples = [
        (
            example.name(example.path.parent),
            example.group,
            videos.targets[index].tolist(),
            float(videos.weights[index]),
        )
        for index, example in ((index, videos.examples[index]) for index in chosen)
    ]
    text = json.dumps([config, seed, examples], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(init: str) -> str:
    """Of a file what it holds, wherever it lies; of a package its name."""
    if Path(init).suffix not in FILES:
        return init
    with Path(init).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
