"""A slice of what `python -m tests.hostile` sends, and the mutator itself."""

from __future__ import annotations

from random import Random

import pytest

from tests.hostile.boxes import parts_of
from tests.hostile.mutate import LARGEST_BYTES, STRUCTURED, mutated
from tests.hostile.run import mutations, run
from tests.hostile.seeds import made

SEEDS = made()


def test_nothing_happens_that_must_never_happen() -> None:
    findings = run(mutations(SEEDS, 2, range(200)), 200)
    assert findings.problems == []
    assert findings.uploads == 200
    assert findings.outcomes["decoded"] > 20
    assert findings.outcomes["undecodable"] > 20


def test_parts_are_found_in_mp4_and_in_matroska() -> None:
    by_name = {seed.name: seed.data for seed in SEEDS}
    mp4 = by_name["h264.mp4"]
    names = [mp4[part.start + 4 : part.start + 8] for part in parts_of(mp4)]
    assert names[0] == b"ftyp"
    assert names.count(b"trak") == 2
    assert {b"stco", b"stsz", b"stts", b"mdat"} <= set(names)
    webm = by_name["vp8.webm"]
    identifiers = [webm[part.start : part.size_at].hex() for part in parts_of(webm)]
    assert identifiers[0] == "1a45dfa3"
    assert {"18538067", "1654ae6b", "1f43b675", "a3"} <= set(identifiers)
    assert parts_of(by_name["h264.ts"]) == []


@pytest.mark.parametrize("change", STRUCTURED, ids=lambda change: change.__name__)
def test_each_change_leaves_something_to_try(change: object) -> None:
    for seed in SEEDS:
        for number, part in enumerate(parts := parts_of(seed.data)):
            copy = bytearray(seed.data)
            change(copy, part, parts, Random(number))  # type: ignore[operator]
            assert len(copy) < 10 * len(seed.data)


def test_the_same_numbers_give_the_same_copy() -> None:
    first, second = (list(mutations(SEEDS, 7, range(50))) for _ in range(2))
    assert first == second
    assert len({file.data for file in first}) > 40
    assert list(mutations(SEEDS, 7, [31])) == [first[31]]


def test_copies_stay_small() -> None:
    data = SEEDS[0].data
    assert all(len(mutated(data, Random(number))[0]) <= LARGEST_BYTES for number in range(300))
