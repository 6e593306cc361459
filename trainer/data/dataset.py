"""Examples of one set as batches for training, and as videos for scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from models.architectures.registry import FAMILIES
from trainer.config import FurtherSet, TrainConfig
from trainer.data.augment import Sample, training_sample
from trainer.data.batch import Batch as Batch  # also for those who take both from here
from trainer.data.inputs import samples_of, stacked, wanted_of, wider
from trainer.data.manifest import Example, read_manifest
from trainer.data.mixing import mixed
from trainer.data.rolls import ROLL_FRAMES, ClipCache, RollShape, Wanted
from trainer.data.split import Split, grouped_folds, with_further
from trainer.data.views import scoring_plan


@dataclass(frozen=True)
class VideoSet:
    """The examples of a configuration, with their targets."""

    config: TrainConfig
    cache: ClipCache
    examples: tuple[Example, ...]  # of the main set, then of each further one
    targets: npt.NDArray[np.float32]  # (examples, L); nan: not known
    weights: npt.NDArray[np.float64]  # (examples,): how much each counts; see FurtherSet.weight
    sets: npt.NDArray[np.int64]  # (examples,): 0 is the main set, which is reported on

    @staticmethod
    def read(config: TrainConfig, cache: ClipCache) -> VideoSet:
        wanted_of(config)  # here, so that a configuration that does not fit is told before anything is read
        root = config.data.root
        main = read_manifest(root / config.data.manifest, root)
        examples, targets = [*main], [_targets(config, main)]
        weights, sets = [np.array([example.weight for example in main])], [np.zeros(len(main), np.int64)]
        for number, further in enumerate(config.data.also, 1):
            those = _kept(read_manifest(root / further.manifest, root), further)
            examples += those
            targets.append(_further_targets(config, further, those))
            own = np.array([example.weight for example in those])
            weights.append(own * (further.weight * weights[0].sum() / own.sum()))
            sets.append(np.full(len(those), number))
        return VideoSet(
            config,
            cache,
            tuple(examples),
            np.concatenate(targets),
            np.concatenate(weights),
            np.concatenate(sets),
        )

    @cached_property
    def wanted(self) -> Wanted:
        """What the network takes of a video."""
        return wanted_of(self.config)

    def splits(self) -> tuple[Split, ...]:
        """By group; see ``trainer.data.split``."""
        main = grouped_folds(self.examples[: int((self.sets == 0).sum())], self.config.data.folds)
        return with_further(main, self.examples, self.sets.tolist())

    def decode_all(self, log: Callable[[str], None]) -> list[float]:
        """Fill the cache, so that processes that train side by side only read it. Gives all lengths, in s."""
        shape, lengths_s = RollShape.of(self.wanted, self.config.data), list[float]()
        for index, example in enumerate(self.examples):
            lengths_s.append(self.cache.roll(example.path, shape, example.stretch).video_s)
            self.video(index)
            if (index + 1) % 100 == 0:
                log(f"decoded {index + 1} of {len(self.examples)}")
        frame_s = 1.0 / shape.video.frame_rate_hz  # a length that is rounded is no news
        longer = sum(length_s > shape.lasts_s + frame_s for length_s in lengths_s)
        if longer:
            log(
                f"{longer} of {len(lengths_s)} videos are longer than the {shape.lasts_s:g} s that training "
                f"draws clips from (data.roll_seconds, {ROLL_FRAMES} frames at most): the rest is never "
                "trained on; list long ones in stretches (start_s, end_s)"
            )
        return lengths_s

    def training_batches(self, chosen: Sequence[int], random: np.random.Generator) -> Iterator[Batch]:
        """One epoch over the chosen examples in random order; a last batch of one is left out."""
        size = self.config.fit.batch
        order = random.permutation(np.asarray(chosen))
        for first in range(0, len(order), size):
            members = order[first : first + size]
            if len(members) < 2 <= len(order):
                return
            yield self.training_batch(members, [random] * len(members))

    def training_batch(
        self,
        members: npt.NDArray[np.int64],
        randoms: Sequence[np.random.Generator],
        *,
        mix: bool = True,
    ) -> Batch:
        """A random clip of each member, drawn with the generator beside it and with nothing else.

        So a clip does not depend on which batch or process it is made in. What mixes the clips of a batch, if
        it is set and ``mix`` allows it, draws from the first generator, after the clips.
        """
        wanted, config = self.wanted, self.config
        roll_shape = RollShape.of(wanted, config.data)
        chosen = [self.examples[i] for i in members]
        rolls = [self.cache.roll(example.path, roll_shape, example.stretch) for example in chosen]
        samples = [
            training_sample(roll, wanted, config.augment, random)
            for roll, random in zip(rolls, randoms, strict=True)
        ]
        batch = self._batch(samples, members)
        if not mix:
            return batch
        inputs, targets = mixed(batch.inputs, batch.targets, config.augment, randoms[0])
        return Batch(inputs, targets, members)

    def video(self, index: int) -> Batch:
        """All clips of one example, N, each with its target: as serving takes them, or by ``data.views``."""
        example, data = self.examples[index], self.config.data
        wanted = wider(self.wanted, data) if data.views.crops > 1 else self.wanted
        clips = self.cache.clips(example.path, wanted, scoring_plan(data), example.stretch)
        samples = samples_of(clips, self.wanted.video.width, data.views.crops)
        return self._batch(samples, np.full(len(samples), index))

    def _batch(self, samples: Sequence[Sample], members: npt.NDArray[np.int64]) -> Batch:
        names = FAMILIES[self.config.architecture.name].inputs
        targets = torch.from_numpy(self.targets[members])
        return Batch(stacked(samples, self.wanted, names), targets, members)


def _targets(config: TrainConfig, examples: Sequence[Example]) -> npt.NDArray[np.float32]:
    known = frozenset[str]().union(*(example.labels for example in examples))
    for target in config.labels:
        absent = set(target.positives) - known
        if absent:
            raise ValueError(f"label {target.name}: no example is labelled {', '.join(sorted(absent))}")
    rows = [[bool(example.labels & {*target.positives}) for target in config.labels] for example in examples]
    for target, column in zip(config.labels, zip(*rows, strict=True), strict=True):
        if all(column):
            raise ValueError(
                f"label {target.name}: every example of {config.data.manifest} has it, and what is judged on "
                "that set needs some without it"
            )
    return np.asarray(rows, np.float32)


def _kept(examples: Sequence[Example], further: FurtherSet) -> list[Example]:
    known = frozenset[str]().union(*(example.labels for example in examples))
    named = {*further.leave_out}.union(*further.positives.values())
    if named - known:
        raise ValueError(f"{further.manifest}: no example is labelled {', '.join(sorted(named - known))}")
    kept = [example for example in examples if not example.labels & {*further.leave_out}]
    if not kept:
        raise ValueError(f"{further.manifest}: leave_out leaves no example")
    return kept


def _further_targets(
    config: TrainConfig, further: FurtherSet, examples: Sequence[Example]
) -> npt.NDArray[np.float32]:
    names = [target.name for target in config.labels]
    strange = ({*further.positives} | {*further.unknown}) - {*names}
    if strange:
        raise ValueError(f"{further.manifest}: no such label: {', '.join(sorted(strange))}")
    columns = [
        [np.nan] * len(examples)
        if name in further.unknown
        else [bool(example.labels & {*further.positives.get(name, ())}) for example in examples]
        for name in names
    ]
    return np.asarray(columns, np.float32).T
