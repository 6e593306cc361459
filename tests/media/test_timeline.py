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
    assert found.carried_on
    assert found.duration_s == pytest.approx(2.0)


def test_times_that_are_missing_are_made_up() -> None:
    found = timeline([(None, None, 0.0, index == 0) for index in range(10)])
    assert not found.continuous
    assert not found.carried_on
    assert found.duration_s == pytest.approx(1.0)


def test_decoding_times_stand_in_for_missing_presentation_times() -> None:
    found = timeline([(None, index / 10, 0.1, index == 0) for index in range(10)])
    assert found.duration_s == pytest.approx(1.0)


def test_packets_that_are_not_shown_keep_their_ordinals_and_count_for_nothing_else() -> None:
    builder = TimelineBuilder(gap_s=0.1)
    for index in range(8):  # 0 and 7 are discarded
        time_s = 0.1 * index - (5.0 if index == 0 else 0.0)
        builder.add(time_s, time_s, 9.0 if index == 7 else 0.1, index in {0, 1, 4}, shown=index not in {0, 7})
    found = builder.build()
    assert found.origin_s == pytest.approx(0.1)
    assert found.duration_s == pytest.approx(0.6)
    assert found.interval_s == pytest.approx(0.1)
    assert found.pictures == 6
    assert found.times_s == pytest.approx([-5.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert found.keyframes.tolist() == [1, 4]


def test_ordinary_videos_are_active_all_the_time() -> None:
    found = timeline(regular(15, {0}, start_s=0.3))
    assert found.active(clip_s=1.0).duration_s == found.duration_s
    assert found.active(clip_s=1.0).to_presentation((0.0, 0.123, 0.5)) == (0.0, 0.123, 0.5)


@pytest.mark.parametrize(
    ("clip_s", "duration_s", "starts_s", "presented_s"),
    [
        (1.0, 5.0, (0.0, 0.5, 2.4, 2.5, 3.0, 4.0), (0.0, 0.5, 2.4, 100.5, 101.0, 102.0)),
        (3.0, 7.0, (0.0, 3.4, 3.5, 4.0), (0.0, 3.4, 100.5, 101.0)),  # no picture is cut below a clip
    ],
)
def test_a_long_picture_counts_for_two_seconds_or_a_clip(
    clip_s: float, duration_s: float, starts_s: tuple[float, ...], presented_s: tuple[float, ...]
) -> None:
    """Half a second, a picture of 100 s, half a second, a picture of 1000 s."""
    packets = regular(6, {0}) + regular(5, {0}, start_s=100.5)
    packets.append((101.0, 101.0, 1000.0, False))
    active = timeline(packets).active(clip_s)
    assert active.duration_s == pytest.approx(duration_s)
    assert active.to_presentation(starts_s) == pytest.approx(presented_s)


def test_a_slide_show_is_active_all_the_time() -> None:
    found = timeline([(10.0 * index, 10.0 * index, 10.0, True) for index in range(5)])
    assert found.active(clip_s=1.0).duration_s == pytest.approx(50.0)
