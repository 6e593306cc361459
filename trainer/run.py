"""One training run, from a configuration to an installed artifact.

1. Decode what was not decoded before.
2. For each fold: train on the others (``trainer.learn``: teachers, network, pruning, rounding), export,
   quantise, score the fold. Nothing of the fold is used before.
3. Train once more on everything: these weights ship, and no figure is computed with them.
4. Calibration, threshold and band from the folds' held-out scores.
5. Export the shipped weights in every form (``trainer.variants``). The gates raise before anything is
   written to its place: each form against FP32, INT8 on the folds, and the version that it replaces.
6. Write specification, metrics and card beside the weights and move the folder into place.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trainer.artifact import Evidence, Installation, Shipped, write_artifact
from trainer.config import TrainConfig
from trainer.data.dataset import VideoSet
from trainer.data.inputs import refuse_unserved
from trainer.data.rolls import ClipCache
from trainer.data.split import Split
from trainer.data.views import unlike_serving
from trainer.distill import teachers_of
from trainer.embedding import refuse_without_head
from trainer.evaluation.elsewhere import elsewhere
from trainer.evaluation.held_out import HeldOut
from trainer.evaluation.judge import Evaluation, evaluate
from trainer.export import Feed, GateClosed, check_parity, export_onnx, feed, onnx_logits
from trainer.fit import Logits, Progress, of_fold, start_of, threads
from trainer.fit.processes import leads, processes, wait
from trainer.fit.start import FOLD
from trainer.frozen import head_inputs
from trainer.half import check_half
from trainer.learn import Learner
from trainer.metrics import roc_auc
from trainer.pool import in_processes
from trainer.quantize import Agreement, check_agreement, quantise
from trainer.variants import PRECISIONS, REFERENCE, Files, export_variants

WHOLE = "everything"
AGREEMENT_VIDEOS = 100  # on which the forms of the shipped network must agree
HALF_FEEDS = 16  # videos: the CPU, which never serves FP16, is slow with it


Log = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One network to train: on everything but a fold, or on everything."""

    split: Split
    seed: int


@dataclass(frozen=True)
class Trained:
    """What a job brings back from its process."""

    files: Files  # every variant of the network that ships, FP32 and INT8 of the others
    parity: float
    scores: tuple[Logits, ...]  # of the held-out examples, then of those put aside
    int8_scores: tuple[Logits, ...]  # the same, by the quantised file


def train(
    config: TrainConfig,
    cache: ClipCache,
    installation: Installation,
    jobs: int,
    log: Log,
    kept: Path | None = None,
) -> Path | None:
    """Returns the folder of the installed artifact; None in a process of torchrun that only helps to train.

    In ``kept`` logs, checkpoints and finished networks are kept: called again with it, a run goes on.
    """
    refuse_unserved(config)
    installation.place(config)  # here, so that a version that is there is told before hours of training
    if not leads():
        log = _silent
    videos = VideoSet.read(config, cache)
    splits = videos.splits()
    whole = Split(WHOLE, tuple(range(len(videos.examples))), ())
    log(
        f"{len(videos.examples)} videos of {len({example.group for example in videos.examples})} sources, "
        f"{len(splits)} folds"
    )
    teachers = teachers_of(videos)
    for each, split in product((videos, *teachers), (*splits, whole)):
        of_fold(each, split)  # here, so that what would be refused later is told before anything is decoded
    start = start_of(of_fold(videos, whole).config)
    if start.told:
        log(f"init {start.told}")
    if config.embedding:
        refuse_without_head(start.network)
    todo = [Job(split, config.fit.seed) for split in (*splits, whole)]
    if not leads():
        wait(config.fit)
        for job in todo:
            _network(job, config, cache, _silent, kept)
        return None
    _decode(videos, teachers, log)
    jobs = 1 if processes() > 1 else jobs
    if config.fit.probe_views and FOLD not in config.init:
        _look_once(config, cache, len(videos.examples), jobs)
        log("features of the network at rest: computed")
    wait(config.fit)
    with tempfile.TemporaryDirectory(prefix="sluice-train-") as folder:
        task = partial(_trained, config=config, cache=cache, work=Path(folder), kept=kept)
        trained: list[Trained] = []
        for job, result in zip(todo, in_processes(task, todo, jobs), strict=True):
            _log_result(job, result, videos, log)
            trained.append(result)
        held_out, aside = _held_out(videos, splits, trained)
        evaluation = evaluate(config, held_out)
        log(evaluation.summary())
        others = elsewhere(aside, evaluation, config.aggregation)
        evidence = Evidence(held_out, aside, evaluation, others)
        some = np.random.default_rng(config.fit.seed).permutation(len(videos.examples))[:AGREEMENT_VIDEOS]
        feeds = [feed(videos.video(int(index))) for index in some]
        shipped = _shipped(config, evaluation, trained[-1], feeds, log)
        return write_artifact(config, evidence, shipped, installation, log)


def _decode(videos: VideoSet, teachers: Sequence[VideoSet], log: Log) -> None:
    config = videos.config
    if warning := unlike_serving(config.data, videos.decode_all(log), config.video.clip_s):
        log(warning)
    for teacher in teachers:
        teacher.decode_all(log)


def _shipped(
    config: TrainConfig, evaluation: Evaluation, final: Trained, feeds: Sequence[Feed], log: Log
) -> Shipped:
    """Each variant must say what FP32 says. Raises GateClosed if int8 does not; others are left out."""
    fp32, gate = final.files[REFERENCE], config.gate
    files = dict(final.files)
    half: float | None = None
    agreements: dict[str, Agreement] = {}
    for name, file in final.files.items():
        try:
            if PRECISIONS[name] == "fp16":
                half = check_half(fp32, file, feeds[:HALF_FEEDS], gate.fp16)
            elif PRECISIONS[name] == "int8":
                agreements[name] = check_agreement(fp32, file, feeds, evaluation.calibrations, gate)
                log(f"{name} agrees with FP32 on {agreements[name].same_side:.1%} of {len(feeds)} videos")
        except GateClosed as refused:
            if name == "int8":
                raise
            log(f"left out: {refused}")
            del files[name]
    return Shipped(files, final.parity, half, agreements)


def _log_result(job: Job, result: Trained, videos: VideoSet, log: Log) -> None:
    if not job.split.test:
        log("trained on everything")
        return
    targets = videos.targets[list(job.split.test)].astype(np.float64)
    means = np.stack([scores.mean(axis=0) for scores in result.scores[: len(targets)]]).astype(np.float64)
    areas = [roc_auc(targets[:, index], means[:, index]) for index in range(targets.shape[1])]
    log(f"fold {job.split.name}: held-out AUC {', '.join(f'{area:.3f}' for area in areas)}")


def _network(
    job: Job, config: TrainConfig, cache: ClipCache, progress: Progress, kept: Path | None
) -> nn.Module:
    place = None if kept is None else kept / job.split.name
    videos = VideoSet.read(config, cache)
    return Learner(videos, job.split, job.seed, progress, place).network()


def _trained(job: Job, config: TrainConfig, cache: ClipCache, work: Path, kept: Path | None) -> Trained:
    with threads(1):
        videos = VideoSet.read(config, cache)
        network = _network(job, config, cache, _progress_file(work / f"{job.split.name}.log"), kept)
        fp32 = work / f"{job.split.name}.onnx"
        some = np.random.default_rng(job.seed).permutation(job.split.train)[: config.quantise.videos]
        batches = [videos.video(int(index)) for index in some]
        export_onnx(network, max(batches, key=len), fp32, embedding=config.embedding)
        parity = check_parity(network, fp32, batches[:8], config.gate.parity)
        files = _files(job, fp32, [feed(batch) for batch in batches], config)
        held_out = (*job.split.test, *job.split.aside)
        scores, int8_scores = (scored(file, videos, held_out) for file in (fp32, files["int8"]))
        return Trained(files, parity, scores, int8_scores)


def scored(file: Path, videos: VideoSet, chosen: Sequence[int]) -> tuple[Logits, ...]:
    """One video at a time: the clips of a whole fold need not fit into memory."""
    return tuple(onnx_logits(file, (feed(videos.video(index)) for index in chosen)))


def _look_once(config: TrainConfig, cache: ClipCache, count: int, jobs: int) -> None:
    """Fill the cache with what the heads of all folds will be given."""
    task = partial(_look, config=config, cache=cache)
    shares = [range(first, count, jobs) for first in range(jobs)]
    for _ in in_processes(task, shares, jobs):
        pass


def _look(share: Sequence[int], config: TrainConfig, cache: ClipCache) -> None:
    with threads(1):
        torch.manual_seed(config.fit.seed)
        network = start_of(config).network
        head_inputs(network, VideoSet.read(config, cache), share, config.fit.probe_views, config.fit.seed)


def _files(job: Job, fp32: Path, feeds: Sequence[Feed], config: TrainConfig) -> Files:
    if job.split.name == WHOLE:
        return export_variants(fp32, fp32.parent, feeds, config.quantise)
    int8 = fp32.with_name(f"{fp32.stem}-int8.onnx")
    quantise(fp32, int8, feeds, config.quantise)
    return {REFERENCE: fp32, "int8": int8}


def _silent(*_: object) -> None:
    """Said by another process."""


def _progress_file(path: Path) -> Callable[[int, float], None]:
    def write(epoch: int, loss: float) -> None:
        with path.open("a") as file:
            file.write(f"epoch {epoch} loss {loss:.4f}\n")

    return write


def _held_out(
    videos: VideoSet, splits: Sequence[Split], trained: Sequence[Trained]
) -> tuple[HeldOut, HeldOut]:
    """Every example scored by the network that never saw its fold: the main set's, and the further ones'."""
    scored: dict[int, tuple[str, Logits, Logits]] = {}
    for split, result in zip(splits, trained, strict=False):
        order = (*split.test, *split.aside)
        for index, logits, int8_logits in zip(order, result.scores, result.int8_scores, strict=True):
            scored[index] = (split.name, logits, int8_logits)
    main, further = ([i for i in sorted(scored) if bool(videos.sets[i]) is aside] for aside in (False, True))
    return _as_held_out(videos, main, scored), _as_held_out(videos, further, scored)


def _as_held_out(
    videos: VideoSet, members: Sequence[int], scored: Mapping[int, tuple[str, Logits, Logits]]
) -> HeldOut:
    data = videos.config.data
    return HeldOut(
        labels=tuple(target.name for target in videos.config.labels),
        paths=tuple(videos.examples[i].name(data.root) for i in members),
        groups=tuple(videos.examples[i].group for i in members),
        folds=tuple(scored[i][0] for i in members),
        targets=videos.targets[list(members)],
        scores=tuple(scored[i][1] for i in members),
        int8_scores=tuple(scored[i][2] for i in members),
        sets=tuple(data.also[videos.sets[i] - 1].manifest.as_posix() for i in members if videos.sets[i]),
    )
