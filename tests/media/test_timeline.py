"""The timeline of a file, from its packets: (pts, dts, duration, keyframe) in file order."""

from __future__ import annotations

import pytest

from worker.media.timeline import Timeline, TimelineBuilder

Packet = tuple[float | None, float | None, float, bool]


def timeline(packets: list[Packet], gap_s: float = 0.1) -> Timeline:
    builder = TimelineBuilder(gap_s=gap_s)
    for packet in packets:
        builder.add(*packet)
    return builder.build()


def regular(count: int, keys: set[int], start_s: float = 0.0) -> list[Packet]:
    return [(start_s + i / 10, start_s + i / 10, 0.1, i in keys) for i in range(count)]


def test_times_count_from_the_first_picture() -> None:
    found = timeline(regular(10, {0}, start_s=5.0))
    assert found.origin_s == 5.0
    assert found.duration_s == pytest.approx(1.0)
    assert found.interval_s == pytest.approx(0.1)
    assert found.continuous


def test_pictures_that_are_stored_out_of_order() -> None:
    found = timeline([(0.0, -0.1, 0.1, True), (0.2, 0.0, 0.1, False), (0.1, 0.1, 0.1, False)])
    assert found.duration_s == pytest.approx(0.3)
    assert found.continuous
    assert [found.shown_at(t) for t in (0.0, 0.15, 0.25, 9.0, -1.0)] == pytest.approx([0, 0.1, 0.2, 0.2, 0])


def test_the_last_picture_lasts_as_long_as_it_says() -> None:
    found = timeline([(0.0, 0.0, 0.5, True), (0.5, 0.5, 4.0, False)])
    assert found.duration_s == pytest.approx(4.5)


def test_a_single_picture_has_a_duration() -> None:
    assert timeline([(0.0, 0.0, 0.0, True)]).duration_s > 0


@pytest.mark.parametrize(("time_s", "ordinal"), [(0.0, 0), (0.49, 0), (0.5, 5), (0.99, 5), (7.0, 10)])
def test_the_keyframe_to_start_from(time_s: float, ordinal: int) -> None:
    assert timeline(regular(15, {0, 5, 10})).keyframe_before(time_s) == ordinal


def test_without_keyframes_decoding_starts_at_the_beginning() -> None:
    assert timeline(regular(15, set())).keyframe_before(1.4) == 0


def test_a_keyframe_shown_before_an_earlier_one_is_not_used() -> None:
    packets = regular(15, {0, 5, 10})
    packets[10] = (0.2, 1.0, 0.1, True)
    assert timeline(packets).keyframe_before(1.4) == 5


def test_a_stream_that_starts_again_is_carried_on() -> None:
    found = timeline(regular(10, {0}) + regular(10, {0}))
    assert not found.continuous
    assert found.duration_s == pytest.approx(2.0)


def test_times_that_are_missing_are_made_up() -> None:
    found = timeline([(None, None, 0.0, index == 0) for index in range(10)])
    assert not found.continuous
    assert found.duration_s == pytest.approx(1.0)


def test_decoding_times_stand_in_for_missing_presentation_times() -> None:
    found = timeline([(None, index / 10, 0.1, index == 0) for index in range(10)])
    assert found.duration_s == pytest.approx(1.0)
