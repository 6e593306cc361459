"""Parts add up to the image. Needs no engine."""

from __future__ import annotations

from tests.images.measure import BASE, OTHERS, large_parts


def test_large_parts_are_named_and_small_ones_added_up() -> None:
    found = large_parts(1000, {"small": 9, "large": 400, "larger": 500, "tiny": 1})
    assert found == {"larger": 500, "large": 400, OTHERS: 10, BASE: 90}
    assert list(found)[:2] == ["larger", "large"]
