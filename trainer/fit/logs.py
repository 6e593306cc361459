"""What a run says while it trains: JSON lines, TensorBoard, a progress bar on a terminal."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LOG = "log.jsonl"


@dataclass(frozen=True)
class StepRecord:
    """After one step of the optimiser; counts start at 1."""

    step: int
    epoch: int
    loss: float  # mean over the whole batch
    learning_rate: float  # of weights that are not pretrained
    gradient_norm: float  # before clipping
    clips_per_s: float


@dataclass(frozen=True)
class EpochRecord:
    step: int  # the epoch's last
    epoch: int
    mean_loss: float
    validation_loss: float | None  # of the averaged weights


Record = StepRecord | EpochRecord


class Sink(Protocol):
    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """One record a line. Lines after step ``done`` are of a run that was killed: they are written again."""

    def __init__(self, file: Path, done: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(file) if _step_of(line) <= done]
        partial = file.with_suffix(".partial")
        partial.write_text("".join(kept))
        os.replace(partial, file)
        self._file = file.open("a")

    def write(self, record: Record) -> None:
        self._file.write(json.dumps(asdict(record)) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Steps and epochs as scalars; after going on, what was written twice is taken from the second time."""

    def __init__(self, folder: Path, done: int) -> None:
        # Here, because it is slow to import and seldom wanted.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=done + 1)

    def write(self, record: Record) -> None:
        for name, value in asdict(record).items():
            if value is not None and name not in ("step", "epoch"):
                self._writer.add_scalar(name, value, record.step)

    def close(self) -> None:
        self._writer.close()


class Bar:
    """One line that is drawn over."""

    def __init__(self, total: int, done: int) -> None:
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            transient=True,
        )
        self._task = self._progress.add_task("", total=total, completed=done, epoch=0, loss=float("nan"))
        self._progress.start()

    def write(self, record: Record) -> None:
        if isinstance(record, StepRecord):
            self._progress.update(self._task, completed=record.step, epoch=record.epoch, loss=record.loss)

    def close(self) -> None:
        self._progress.stop()


def sinks(folder: Path | None, tensorboard: bool, total: int, done: int) -> Sequence[Sink]:
    """Those of a run of ``total`` steps of which ``done`` are done; files only where there is a folder.

    The bar is for a person who looks at one run: not in a child, whose siblings would draw over it.
    """
    chosen: list[Sink] = []
    if folder is not None:
        chosen.append(JsonLines(folder / LOG, done))
        if tensorboard:
            chosen.append(TensorBoard(folder / "tensorboard", done))
    if sys.stdout.isatty() and multiprocessing.parent_process() is None:
        chosen.append(Bar(total, done))
    return chosen


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines(keepends=True) if file.exists() else []


def _step_of(line: str) -> float:
    """Infinity for a line that a killed run did not finish."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")
