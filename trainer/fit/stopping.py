"""When to stop: once examples of the training fold that were held back are no longer judged better. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trainer.data.manifest import Example
from trainer.data.split import grouped_folds
from trainer.fit.checkpoint import Counters


def inner_split(
    examples: Sequence[Example], chosen: Sequence[int], share: float
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The chosen examples as (trained on, held back); no group is in both, about ``share`` is held back."""
    if not share:
        return tuple(chosen), ()
    free = [replace(examples[index], fold="") for index in chosen]
    inner = grouped_folds(free, max(2, round(1.0 / share)))[0]
    return tuple(chosen[i] for i in inner.train), tuple(chosen[i] for i in inner.test)


def judge(counters: Counters, loss: float, patience: int) -> bool:
    """Takes an epoch's validation loss in; True if it is the lowest yet."""
    better = loss < counters.best
    counters.best = min(loss, counters.best)
    counters.waited = 0 if better else counters.waited + 1
    counters.finished = counters.waited >= patience
    return better
