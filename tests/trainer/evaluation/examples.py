"""Held-out scores made up: sources of some videos, each with two clips."""

from __future__ import annotations

import numpy as np

from trainer.evaluation.held_out import HeldOut

LABEL = "violence"


def held_out(noise: float, seed: int = 0, videos: int = 60) -> HeldOut:
    """Logits that follow the truth, the less the more noise; the truths do not depend on the seed."""
    random = np.random.default_rng(seed)
    truth = np.arange(videos) % 2
    logits = 2.0 * (2 * truth - 1)[:, None] + noise * random.normal(size=(videos, 2))
    scores = tuple(row[:, None].astype(np.float32) for row in logits)
    return HeldOut(
        labels=(LABEL,),
        paths=tuple(f"{index:03}.mp4" for index in range(videos)),
        groups=tuple(str(index // 4) for index in range(videos)),
        folds=tuple(str(index // 4 % 3) for index in range(videos)),
        targets=truth[:, None].astype(np.float32),
        scores=scores,
        int8_scores=scores,
    )
