"""One network on one set: trained on each fold's complement, judged on the fold, written as one JSON file.

1. For each fold, the trainer's own ``fit`` on the other folds; nothing of the fold is used before. Epochs
   and everything else are fixed by the protocol, so no validation is needed.
2. Each video of the fold is scored as serving would: the mean logit of its clips.
3. Figures over all folds' held-out videos, with intervals by bootstrap over sources.
4. Costs are counted, speed is measured on an exported ONNX file.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.architectures import registry
from trainer.config import TrainConfig
from trainer.costs import cost_of
from trainer.data.dataset import Batch, VideoSet
from trainer.data.rolls import ClipCache
from trainer.data.split import Split, grouped_folds
from trainer.export import export_onnx
from trainer.fit import Logits, fit, fresh_network, of_fold, score, threads
from trainer.metrics import chance
from trainer.speed import measure_on
from trainer.zoo.figures import exiting, one_label, several_labels
from trainer.zoo.protocol import Protocol

Log = Callable[[str], None]

PROVIDER = "cpu"
SPEED_RUNS = 15
CONFIDENCES = (0.6, 0.7, 0.8, 0.9, 0.95)


class Incomplete(ValueError):
    """Some pairs have no result; the message names them and says why."""


class Unfed(ValueError):
    """A network that takes what this set has not; the message names it."""


@dataclass(frozen=True)
class Trial:
    """What the folds of one pair gave."""

    scores: dict[int, Logits]  # example to the mean logit of its clips, (L,)
    folds: dict[int, str]
    losses: dict[str, list[float]]  # fold to the mean loss of each epoch
    exit_logits: list[tuple[int, Logits]]  # of networks with exits: example, (clips, exits, L)
    cpu_s: float


def run(
    protocol: Protocol, root: Path, out: Path, cache: ClipCache, chosen: Sequence[tuple[str, str]], log: Log
) -> None:
    """Every chosen (set, network) whose file is not there yet. Raises Incomplete if one could not be run."""
    failed: list[str] = []
    for set_name, network_name in chosen:
        path = out / set_name / f"{network_name}.json"
        if path.exists():
            log(f"{set_name} {network_name}: there already")
            continue
        try:
            result = run_pair(protocol, set_name, network_name, root, cache)
        except ValueError as error:  # of one network, of hours of them
            failed.append(f"{set_name} {network_name}: {error}")
            log(f"failed: {failed[-1]}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
        log(f"{set_name} {network_name}: {_summary(result)}")
    if failed:
        raise Incomplete(f"{len(failed)} could not be run: {'; '.join(failed)}")


def run_pair(
    protocol: Protocol, set_name: str, network_name: str, root: Path, cache: ClipCache
) -> dict[str, Any]:
    network = protocol.networks[network_name]
    family = registry.FAMILIES[network.architecture]
    config = protocol.config(set_name, network_name, root, hears=family.hears)
    with threads(1):
        videos = labelled(VideoSet.read(config, cache))
        _check_inputs(family, videos)
        splits = grouped_folds(videos.examples, config.data.folds)
        trial = _trial(videos, splits, exits=family.exits)
        speed = _speed(config, videos.video(0))
    return {
        "set": set_name,
        "network": network_name,
        "architecture": registry.describe(network.architecture, network.arguments),
        "recipe": {"name": network.recipe, **config.fit.model_dump()},
        "init": network.init,
        "input": config.video.model_dump(),
        "test_clips": protocol.test_clips,
        "test_views": protocol.views.model_dump(),
        **_judged(videos, trial, config.fit.loss),
        **_cost(config, videos.video(0)),
        "speed": speed,
        "losses": {name: [round(loss, 4) for loss in losses] for name, losses in trial.losses.items()},
        "training_cpu_s": round(trial.cpu_s, 1),
        "machine": _machine(),
    }


def _check_inputs(family: registry.Family, videos: VideoSet) -> None:
    absent = [name for name in family.inputs if name not in videos.video(0).inputs]
    if absent:
        raise Unfed(f"the trainer's batches have no {', '.join(absent)}")


def labelled(videos: VideoSet) -> VideoSet:
    """Without the examples that the set plan leaves out, which have no label; of one label, all of them."""
    if len(videos.config.labels) == 1:
        return videos
    kept = np.flatnonzero(videos.targets.sum(1) > 0)
    return replace(
        videos,
        examples=tuple(videos.examples[int(index)] for index in kept),
        targets=videos.targets[kept],
        weights=videos.weights[kept],
        sets=videos.sets[kept],
    )


def _trial(videos: VideoSet, splits: Sequence[Split], *, exits: bool) -> Trial:
    scores: dict[int, Logits] = {}
    folds: dict[int, str] = {}
    losses: dict[str, list[float]] = {}
    exit_logits: list[tuple[int, Logits]] = []
    videos.decode_all(lambda line: None)
    begun_s = time.process_time()
    for split in splits:
        losses[split.name] = []
        seed, note = videos.config.fit.seed, partial(_note, losses[split.name])
        network = fit(of_fold(videos, split), split.train, seed, note)
        for index, logits in zip(split.test, score(network, videos, split.test), strict=True):
            scores[index], folds[index] = logits.mean(0), split.name
        if exits:
            exit_logits += _of_exits(network, videos, split.test)
    return Trial(scores, folds, losses, exit_logits, time.process_time() - begun_s)


def _note(losses: list[float], epoch: int, loss: float) -> None:
    losses.append(loss)


def _of_exits(network: nn.Module, videos: VideoSet, chosen: Sequence[int]) -> list[tuple[int, Logits]]:
    with torch.inference_mode():
        return [(i, network(*videos.video(i).inputs.values()).numpy()) for i in chosen]


def _judged(videos: VideoSet, trial: Trial, loss: str) -> dict[str, Any]:
    order = sorted(trial.scores)
    logits = np.stack([trial.scores[index] for index in order]).astype(np.float64)
    folds = [trial.folds[index] for index in order]
    groups = [videos.examples[index].group for index in order]
    targets = videos.targets[order].astype(np.float64)
    if loss == "binary":
        figures = one_label(logits[:, 0], targets[:, 0], folds, groups)
        by_chance = {"accuracy": chance(targets[:, 0]), "auc": 0.5}
    else:
        labels = targets.shape[1]
        figures = several_labels(logits, targets.argmax(1).astype(np.float64), folds, groups)
        by_chance = {name: int(name[3:]) / labels for name in figures}
    return {
        "videos": len(order),
        "sources": len(set(groups)),
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "chance": by_chance,
        "exits": _exits(videos, trial) if loss == "binary" else [],
    }


def _exits(videos: VideoSet, trial: Trial) -> list[dict[str, Any]]:
    if not trial.exit_logits:
        return []
    truth = np.concatenate([np.repeat(videos.targets[i, 0], len(clips)) for i, clips in trial.exit_logits])
    logits = np.concatenate([clips for _, clips in trial.exit_logits])
    return [asdict(point) for point in exiting(logits, truth.astype(np.float64), CONFIDENCES)]


def _cost(config: TrainConfig, batch: Batch) -> dict[str, Any]:
    cost = cost_of(fresh_network(config), {name: value[:1] for name, value in batch.inputs.items()})
    return {"parameters": cost.parameters, "giga_operations": round(cost.giga_operations, 4)}


def _speed(config: TrainConfig, batch: Batch) -> dict[str, Any]:
    """One clip at a time on one thread, by the exported ONNX file."""
    inputs = {name: torch.cat((value, value))[:2] for name, value in batch.inputs.items()}
    two = Batch(inputs, batch.targets, batch.members)
    with tempfile.TemporaryDirectory(prefix="sluice-zoo-") as folder:
        file = Path(folder) / "network.onnx"
        export_onnx(fresh_network(config), two, file)
        (speed,) = measure_on(PROVIDER, {"fp32": file}, 1, SPEED_RUNS)
    least_s = speed.least_ms_per_clip / 1000
    return {
        "provider": PROVIDER,
        "threads": 1,
        "median_ms_per_clip": speed.median_ms_per_clip,
        "least_ms_per_clip": speed.least_ms_per_clip,
        "clips_per_s": round(1 / least_s, 1),
        "frames_per_s": round(config.video.frames / least_s, 1),
    }


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _summary(result: dict[str, Any]) -> str:
    figures = ", ".join(f"{name} {figure['value']:.3f}" for name, figure in result["figures"].items())
    return f"{figures}, {result['training_cpu_s']:.0f} s of training"
