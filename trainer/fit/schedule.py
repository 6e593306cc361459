"""What changes from step to step. Pure."""

from __future__ import annotations

import math


def learning_rate_factor(share: float, warmup: float) -> float:
    """Of the peak, at this share of the run: linear warm-up, then half a cosine down to 0."""
    if share < warmup:
        return max(share / warmup, 0.01)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (share - warmup) / (1.0 - warmup))))
