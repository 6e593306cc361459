"""Checkpoints from which a killed run goes on.

A checkpoint is a folder ``step-00000123`` with ``weights.safetensors``, ``average.safetensors``, perhaps
``best.safetensors``, and ``state.pt``: optimiser, scaler and counters. It is written under another name and
renamed when it is whole, so what bears the name can be read. ``network.safetensors`` beside them is the
finished network.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trainer.weights import note_of

Weights = Mapping[str, Tensor]
FINISHED = "network.safetensors"


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on from; the message names the folder and what to do."""


@dataclass
class Counters:
    """How far a run is."""

    step: int = 0  # steps done
    epoch: int = 1  # being trained, from 1
    done: int = 0  # steps of it done
    loss_sum: float = 0.0  # over those
    best: float = float("inf")  # lowest validation loss
    waited: int = 0  # epochs since then
    finished: bool = False  # stopped early

    def next_epoch(self) -> None:
        self.epoch, self.done, self.loss_sum = self.epoch + 1, 0, 0.0


@dataclass(frozen=True)
class Checkpoint:
    weights: Weights
    average: Weights
    best: Weights | None  # the average at the lowest validation loss
    counters: Counters
    rest: Mapping[str, Any]  # state dicts of optimiser, precision and objective


@dataclass(frozen=True)
class Checkpoints:
    """Those of one run in ``folder``; ``run`` identifies what is trained, ``keep`` counts the latest kept."""

    folder: Path
    run: str
    keep: int
    sources: frozenset[str] = frozenset()  # groups that the finished network was learnt from

    def save(self, checkpoint: Checkpoint) -> None:
        partial = self.folder / "step.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_weights(checkpoint.weights, partial / "weights.safetensors")
        save_weights(checkpoint.average, partial / "average.safetensors")
        if checkpoint.best is not None:
            save_weights(checkpoint.best, partial / "best.safetensors")
        state = {"run": self.run, "counters": asdict(checkpoint.counters), **checkpoint.rest}
        torch.save(state, partial / "state.pt")
        partial.rename(self.folder / f"step-{checkpoint.counters.step:08d}")
        for old in self._all()[: -self.keep]:
            shutil.rmtree(old)

    @property
    def begun(self) -> bool:
        return bool(self._all())

    def latest(self) -> Checkpoint | None:
        """None if there is none. Raises CheckpointError if it belongs to another run."""
        folders = self._all()
        if not folders:
            return None
        folder = folders[-1]
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        if state.pop("run") != self.run:
            raise CheckpointError(
                f"{folder} is of another configuration or other data; go on with those, "
                "or name another folder for this run"
            )
        best = folder / "best.safetensors"
        return Checkpoint(
            weights=load_file(folder / "weights.safetensors"),
            average=load_file(folder / "average.safetensors"),
            best=load_file(best) if best.exists() else None,
            counters=Counters(**state.pop("counters")),
            rest=state,
        )

    def finish(self, network: nn.Module) -> None:
        """Write the finished network; what led to it is not needed any more."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{FINISHED}.partial"
        save_weights(network.state_dict(), partial, {"run": self.run, **note_of(self.sources)})
        os.replace(partial, self.folder / FINISHED)
        for old in self._all():
            shutil.rmtree(old)

    def finished(self) -> Weights | None:
        """The finished network's weights. Raises CheckpointError if they belong to another run."""
        file = self.folder / FINISHED
        if not file.exists():
            return None
        with safe_open(file, "pt") as opened:
            if (opened.metadata() or {}).get("run") != self.run:
                raise CheckpointError(
                    f"{file} is of another configuration or other data; name another folder for this run"
                )
        return load_file(file)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def save_weights(weights: Weights, file: Path, metadata: dict[str, str] | None = None) -> None:
    """Each tensor by itself, in the common layout: safetensors takes neither views nor channels-last."""
    plain = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }
    save_file(plain, file, metadata)
