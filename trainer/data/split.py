"""Folds by source: no group ever stands on both sides of a split. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data.manifest import Example


@dataclass(frozen=True, slots=True)
class Split:
    """Indices into the examples."""

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    aside: tuple[int, ...] = ()  # of further sets, not in ``train`` either


def grouped_folds(examples: Sequence[Example], count: int) -> tuple[Split, ...]:
    """One split for each fold: the manifest's folds where it fixes them, else ``count`` balanced ones.

    Raises ValueError when a group would stand on both sides.
    """
    folds = [example.fold for example in examples]
    if not all(folds):
        folds = _balanced(examples, count)
    splits = tuple(_split(name, folds) for name in sorted(set(folds)))
    if len(splits) < 2:
        raise ValueError(f"at least two folds are needed, found {len(splits)}")
    for split in splits:
        _check_disjoint(split, examples)
    return splits


def with_further(
    splits: Sequence[Split], examples: Sequence[Example], sets: Sequence[int]
) -> tuple[Split, ...]:
    """The splits of set 0, each with the examples of further sets, of which it puts a fold aside.

    Folds are made of all further sets together, as one source may stand in several. What shares a group with
    the fold that is tested is neither learnt from nor put aside; what shares one with set 0 is never put
    aside. Raises ValueError when a group would stand on both sides.
    """
    main = {example.group for example, of in zip(examples, sets, strict=True) if not of}
    further = [index for index, of in enumerate(sets) if of]
    apart = [index for index in further if examples[index].group not in main]
    folds = dict(zip(apart, _balanced([examples[i] for i in apart], len(splits)), strict=True))
    found = []
    for fold, split in enumerate(splits, 1):
        tested = {examples[index].group for index in split.test}
        aside = tuple(index for index in apart if folds[index] == str(fold))
        rest = (i for i in further if examples[i].group not in tested and folds.get(i) != str(fold))
        found.append(Split(split.name, (*split.train, *rest), split.test, aside))
        _check_disjoint(found[-1], examples)
    return tuple(found)


def _split(name: str, folds: Sequence[str]) -> Split:
    test = tuple(index for index, fold in enumerate(folds) if fold == name)
    train = tuple(index for index, fold in enumerate(folds) if fold != name)
    return Split(name, train, test)


def _check_disjoint(split: Split, examples: Sequence[Example]) -> None:
    held_out = (*split.test, *split.aside)
    shared = {examples[i].group for i in split.train} & {examples[i].group for i in held_out}
    if shared:
        raise ValueError(f"fold {split.name}: group(s) on both sides: {', '.join(sorted(shared)[:5])}")


def _balanced(examples: Sequence[Example], count: int) -> list[str]:
    """Groups, largest first, each to the fold that has fewest examples of the group's commonest label."""
    members: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        members.setdefault(example.group, []).append(index)
    labels: list[Counter[str]] = [Counter() for _ in range(count)]
    folds = [""] * len(examples)
    for group in sorted(members, key=lambda name: (-len(members[name]), _hash(name))):
        found = Counter(examples[i].label for i in members[group])
        commonest = max(sorted(found), key=found.__getitem__)
        target = min(range(count), key=lambda fold: (labels[fold][commonest], labels[fold].total(), fold))
        labels[target].update(found)
        for index in members[group]:
            folds[index] = str(target + 1)
    return folds


def _hash(name: str) -> str:
    """Breaks ties in an order that does not depend on how groups are named."""
    return hashlib.sha256(name.encode()).hexdigest()
