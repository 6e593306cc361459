"""No source stands on both sides of a split."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import parts
from trainer.data.manifest import Example, read_manifest
from trainer.data.split import grouped_folds, with_further


def example(index: int, label: str, group: str, fold: str = "") -> Example:
    return Example(Path(f"{index}.mp4"), label, group, fold)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("yn"), st.integers(0, 11)), min_size=20, max_size=80))
def test_groups_are_whole_and_every_example_is_tested_once(rows: list[tuple[str, int]]) -> None:
    examples = [example(i, label, f"g{group}") for i, (label, group) in enumerate(rows)]
    if len({row[1] for row in rows}) < 4:
        return
    splits = grouped_folds(examples, 4)
    assert sorted(i for split in splits for i in split.test) == list(range(len(examples)))
    for split in splits:
        train, test = ({examples[i].group for i in side} for side in (split.train, split.test))
        assert not train & test
        assert len(split.train) + len(split.test) == len(examples)


def test_labels_are_spread() -> None:
    examples = [example(i, "yes" if i < 20 else "no", f"g{i // 2}") for i in range(40)]
    for split in grouped_folds(examples, 5):
        assert Counter(examples[i].label for i in split.test) == {"yes": 4, "no": 4}


def test_the_order_of_examples_does_not_matter() -> None:
    examples = [example(i, "yn"[i % 2], f"g{i % 7}") for i in range(30)]
    forwards = {e.group: s.name for s in grouped_folds(examples, 3) for e in (examples[i] for i in s.test)}
    turned = examples[::-1]
    backwards = {e.group: s.name for s in grouped_folds(turned, 3) for e in (turned[i] for i in s.test)}
    assert forwards == backwards


def test_fixed_folds_are_kept() -> None:
    examples = [example(i, "y", f"g{i}", fold) for i, fold in enumerate("2112")]
    assert [(s.name, s.train, s.test) for s in grouped_folds(examples, 5)] == [
        ("1", (0, 3), (1, 2)),
        ("2", (1, 2), (0, 3)),
    ]


def test_a_fixed_fold_that_tears_a_group_is_refused() -> None:
    examples = [example(0, "y", "a", "1"), example(1, "n", "a", "2")]
    with pytest.raises(ValueError, match=r"fold 1: group\(s\) on both sides: a"):
        grouped_folds(examples, 2)


def test_one_fold_is_no_split() -> None:
    with pytest.raises(ValueError, match="at least two folds"):
        grouped_folds([example(0, "y", "a", "1"), example(1, "n", "b", "1")], 2)


def test_the_folds_of_the_violence_set_hold() -> None:
    root = parts.data_dir()
    examples = read_manifest(root / "scfd256" / "manifest.csv", root)
    splits = grouped_folds(examples, 5)
    assert len(examples) == 300
    assert [split.name for split in splits] == ["1", "2", "3", "4", "5"]


def test_two_sizes_of_the_same_clips_share_their_sources() -> None:
    """The small ones beside the large ones: none of a tested source is learnt from, in either size."""
    root = parts.data_dir()
    large, small = (read_manifest(root / name / "manifest.csv", root) for name in ("scfd256", "scfd"))
    sources = {example.path.name: example.group for example in large}
    assert {example.path.name: example.group for example in small} == sources
    examples = (*large, *small)
    splits = with_further(grouped_folds(large, 5), examples, [0] * len(large) + [1] * len(small))
    for split in splits:
        train, test = ({examples[i].group for i in side} for side in (split.train, split.test))
        assert not train & test
        names = ({examples[i].path.name for i in side} for side in (split.train, split.test))
        assert not set.intersection(*names)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 11)), min_size=30, max_size=90))
def test_further_sets_never_bring_a_held_out_source_into_training(rows: list[tuple[int, int]]) -> None:
    """Sets share sources, as two sizes of the same clips do; nor one that is put aside."""
    rows.sort()
    sets = [number for number, _ in rows]
    examples = [example(i, "yn"[i % 2], f"g{group}") for i, (_, group) in enumerate(rows)]
    main = [example for example, number in zip(examples, sets, strict=True) if number == 0]
    groups = {example.group for example in main}
    if len(groups) < 4:
        return
    plain = grouped_folds(main, 3)
    splits = with_further(plain, examples, sets)
    assert [split.test for split in splits] == [split.test for split in plain]
    for split in splits:
        train, test = ({examples[i].group for i in side} for side in (split.train, split.test))
        assert not train & test
        assert not train & {examples[i].group for i in split.aside}
        assert not test & {examples[i].group for i in split.aside}
        assert all(sets[i] for i in split.aside)
        seen = {*split.train, *split.test, *split.aside}
        assert all(examples[i].group in test for i in range(len(rows)) if i not in seen)
    aside = sorted(i for split in splits for i in split.aside)
    assert aside == [i for i in range(len(rows)) if sets[i] and examples[i].group not in groups]


def test_of_each_further_set_a_fold_is_put_aside_by_source() -> None:
    examples = [example(i, "yn"[i % 2], f"main{i // 2}") for i in range(12)]
    examples += [example(12 + i, "n", f"other{i // 3}") for i in range(18)]
    sets = [0] * 12 + [1] * 18
    splits = with_further(grouped_folds(examples[:12], 3), examples, sets)
    assert sorted(i for split in splits for i in split.aside) == list(range(12, 30))
    for split in splits:
        assert len(split.aside) == 6
        assert not {examples[i].group for i in split.aside} & {examples[i].group for i in split.train}


def test_a_source_of_two_further_sets_is_put_aside_of_both_at_once() -> None:
    """As of one set that is listed twice, with other labels each time."""
    examples = [example(i, "yn"[i % 2], f"main{i // 2}") for i in range(12)]
    sets = [0] * 12
    for sequence, kicks in enumerate((3, 2, 1, 1, 2, 3, 1, 2, 3)):
        for number, label, count in ((1, "kick", kicks), (2, "hug", 2)):
            examples += [example(len(examples) + i, label, f"sequence{sequence}") for i in range(count)]
            sets += [number] * count
    splits = with_further(grouped_folds(examples[:12], 3), examples, sets)
    for split in splits:
        assert len(split.aside) == 12
        assert not {examples[i].group for i in split.aside} & {examples[i].group for i in split.train}
