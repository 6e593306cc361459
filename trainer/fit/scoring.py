"""Scoring with a network that was trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainer.data.dataset import VideoSet

Logits = npt.NDArray[np.float32]


def score(network: nn.Module, videos: VideoSet, chosen: Sequence[int]) -> list[Logits]:
    """For each chosen example the logits of its clips, (N, L); of a network with exits, those of the last."""
    wanted = videos.config.fit.accelerator
    device = torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
    network.eval().to(device)
    try:
        with torch.inference_mode():
            return [_last_exit(network(*videos.video(i).to(device).inputs.values())) for i in chosen]
    finally:
        network.to("cpu")


def _last_exit(logits: Tensor) -> Logits:
    answers: Logits = (logits if logits.ndim == 2 else logits[:, -1]).float().cpu().numpy()
    return answers


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch's threads while inside; 0 leaves them as they are."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
