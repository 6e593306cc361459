"""The training loop.

Nothing in a step depends on what happened before but weights, optimiser and counters: which clips it sees,
how they vary and what dropout does are derived from (seed, epoch, step). So a run that was killed goes on as
if nothing had been, and several processes see what one would have seen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from trainer.data.dataset import VideoSet
from trainer.fit.checkpoint import Checkpoints
from trainer.fit.identity import identity_of
from trainer.fit.logs import EpochRecord, Sink, StepRecord, sinks
from trainer.fit.objective import Objective, objective_of
from trainer.fit.optimiser import set_learning_rate, training_mode
from trainer.fit.order import Plan, Step, generators, share_of
from trainer.fit.processes import fabric_of
from trainer.fit.recompute import blocks, recomputing
from trainer.fit.schedule import learning_rate_factor
from trainer.fit.start import Start, start_of
from trainer.fit.state import State
from trainer.fit.stopping import inner_split, judge
from trainer.probe import probe
from trainer.weights import sources_of

Progress = Callable[[int, float], None]  # epoch from 1, mean loss


class Diverged(ValueError):
    """The loss is no number any more; the message names the step and what to do."""


def fit(
    videos: VideoSet,
    chosen: Sequence[int],
    seed: int,
    progress: Progress,
    *,
    start: Start | None = None,
    objective: Objective | None = None,
    soft: VideoSet | None = None,
    folder: Path | None = None,
) -> nn.Module:
    """Train on the chosen examples from ``start``, else from a fresh network; gives it on the CPU.

    The same seed gives the same network on the CPU. ``objective`` replaces the configuration's loss; what is
    fitted in closed form learns from the targets of ``soft``, if given. In ``folder`` log, checkpoints and
    the finished network are kept; called again with the same folder, it goes on from the latest checkpoint,
    or trains nothing if it had finished. Raises ``CheckpointError`` if the folder is of another run,
    ``Diverged`` if the loss is no number.
    """
    config = videos.config.fit
    fabric = fabric_of(config)
    torch.manual_seed(seed)
    start = start or start_of(videos.config)
    kept = _kept(videos, chosen, seed, folder) if folder else None
    finished = kept.finished() if kept else None
    if finished is not None:
        start.network.load_state_dict(finished)
        return start.network.eval()
    # Without epochs there is nothing to stop, so nothing is held back.
    members, held_back = inner_split(videos.examples, chosen, config.validation if config.epochs else 0.0)
    if config.probe_views and not (kept and kept.begun):
        probe(start.network, soft or videos, members, config.probe_views, seed)
    if config.epochs:
        run = _Run(fabric, videos, members, held_back, seed, start, objective or objective_of(config), kept)
        run.train(progress)
    network = start.network.to("cpu").eval()
    if kept and fabric.is_global_zero:
        kept.finish(network)
    fabric.barrier()
    return network


def _kept(videos: VideoSet, chosen: Sequence[int], seed: int, folder: Path) -> Checkpoints:
    sources = sources_of(videos.config.init) | {videos.examples[index].group for index in chosen}
    run = identity_of(videos, chosen, seed)
    return Checkpoints(folder, run, videos.config.fit.checkpoints, sources)


class _Run:
    """One network being trained on ``members``, and judged by what is held back."""

    def __init__(
        self,
        fabric: Fabric,
        videos: VideoSet,
        members: Sequence[int],
        held_back: Sequence[int],
        seed: int,
        start: Start,
        objective: Objective,
        kept: Checkpoints | None,
    ) -> None:
        self.fabric, self.videos, self.seed, self.start, self.kept = fabric, videos, seed, start, kept
        self.config, self.held_back = videos.config.fit, held_back
        self.plan = Plan.of(members, videos.targets, videos.weights, self.config, seed, fabric.world_size)
        self.total = self.plan.steps * self.config.epochs
        self.state = State(fabric, start, objective, self.config)
        self.logs: Sequence[Sink] = ()

    def train(self, progress: Progress) -> None:
        latest = self.kept.latest() if self.kept else None
        if latest is not None:
            self.state.restore(latest)
        self.fabric.barrier()  # nobody writes before everybody has read
        parts = blocks(self.state.network) if self.config.recompute else ()
        with ExitStack() as stack:
            self._open_logs(stack)
            stack.enter_context(recomputing(parts))
            while self.state.at.epoch <= self.config.epochs and not self.state.at.finished:
                self._epoch(progress)
        self.state.settle()

    def _open_logs(self, stack: ExitStack) -> None:
        if self.fabric.is_global_zero:
            folder = self.kept.folder if self.kept else None
            self.logs = sinks(folder, self.config.tensorboard, self.total, self.state.at.step)
            for sink in self.logs:
                stack.callback(sink.close)

    def _epoch(self, progress: Progress) -> None:
        at = self.state.at
        training_mode(self.start, self.config, at.epoch)
        for step in self.plan.epoch(at.epoch, at.done):
            self._step(step)
            if self.kept and self.fabric.is_global_zero and at.step % self.config.checkpoint_steps == 0:
                self.kept.save(self.state.checkpoint())
        mean = at.loss_sum / at.done
        validation = self._validated()
        for sink in self.logs:
            sink.write(EpochRecord(at.step, at.epoch, mean, validation))
        progress(at.epoch, mean)
        at.next_epoch()

    def _step(self, step: Step) -> None:
        at, started_s = self.state.at, time.monotonic()
        factor = learning_rate_factor(at.step / self.total, self.config.warmup)
        set_learning_rate(self.state.optimiser, factor)
        self._seed(at.step)
        loss = self._gradients(at.epoch, step)
        norm = self.fabric.clip_gradients(
            self.state.learner,
            self.state.optimiser,
            max_norm=self.config.clip_norm,
            error_if_nonfinite=False,  # the scaler of 16-mixed leaves such a step out
        )
        assert norm is not None
        self.state.optimiser.step()
        self.state.optimiser.zero_grad(set_to_none=True)
        at.step, at.done, at.loss_sum = at.step + 1, at.done + 1, at.loss_sum + loss
        self.state.average.update(self.state.network, at.step)
        speed = len(step.members) / (time.monotonic() - started_s)
        rate = self.config.learning_rate * factor
        for sink in self.logs:
            sink.write(StepRecord(at.step, at.epoch, loss, rate, float(norm), speed))

    def _gradients(self, epoch: int, step: Step) -> float:
        """Of the mean loss over the whole batch, of which this process computes its share; gives the loss."""
        processes, parts = self.fabric.world_size, self.config.accumulate
        mine = share_of(len(step.members), self.fabric.global_rank, processes)
        members, places = step.members[mine], step.places[mine]
        total = torch.zeros((), device=self.fabric.device)
        for part in range(parts):
            these = share_of(len(members), part, parts)
            randoms = generators(self.seed, epoch, places[these])
            batch = self.videos.training_batch(members[these], randoms).to(self.fabric.device)
            # Gradients are averaged over processes, so a larger share must count for more.
            weight = len(batch) * processes / len(step.members)
            with self.fabric.no_backward_sync(self.state.learner, enabled=part < parts - 1):
                loss = self.state.learner(batch.inputs, batch.targets, batch.members) * weight
                self.fabric.backward(loss)
            total += loss.detach()
        mean = self._over_processes(total, "mean")
        if not math.isfinite(mean):
            raise Diverged(
                f"the loss is {mean} at step {self.state.at.step + 1}: lower fit.learning_rate"
                f"{'' if self.config.precision == '32-true' else ', or set fit.precision to 32-true'}"
            )
        return mean

    def _validated(self) -> float | None:
        """Mean loss of the averaged weights over what was held back; takes it into account."""
        if not self.held_back:
            return None
        mine = self.held_back[share_of(len(self.held_back), self.fabric.global_rank, self.fabric.world_size)]
        self._seed(0)  # an objective that draws is to draw the same in each epoch
        self.state.network.eval()
        total = torch.zeros((), device=self.fabric.device)
        with self.state.average.inside(self.state.network), torch.no_grad(), self.fabric.autocast():
            for index in mine:
                batch = self.videos.video(index).to(self.fabric.device)
                total += self.state.bare(dict(batch.inputs), batch.targets, batch.members)
        loss = self._over_processes(total, "sum") / len(self.held_back)
        if judge(self.state.at, loss, self.config.patience):
            self.state.keep_best()
        return loss

    def _over_processes(self, value: Tensor, how: str) -> float:
        reduced = self.fabric.all_reduce(value, reduce_op=how)
        assert isinstance(reduced, Tensor)
        return reduced.item()

    def _seed(self, step: int) -> None:
        """Of torch's random numbers: dropout, and what an objective draws."""
        sequence = np.random.SeedSequence([self.seed, step, self.fabric.global_rank])
        torch.manual_seed(int(sequence.generate_state(1)[0]))
