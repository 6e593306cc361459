"""Files made to be looked at less than they show: nothing is hidden, or it counts as not seen."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from models.spec import VideoInput
from tests.synthesis import Video, mapped, number_of, packet_places
from worker.errors import MediaLimit, Undecodable
from worker.media.decode import decode_file
from worker.media.sampling import At, Dense, Plan, Uniform
from worker.media.types import Decoded, DecodeRequest

FIVE_HZ = VideoInput(frames=5, frame_rate_hz=5, height=64, width=100)  # clips of one second
TEN_SECONDS = Video(duration_s=10, gop=25, tone_hz=440)  # sound beside it: a chunk for each sample
START_CODE = b"\0\0\0\1"
RECOVERY_POINT = b"\x06\x06\x01\xc4\x80"


def decoded(data: bytes, folder: Path, plan: Plan) -> Decoded:
    path = folder / "video"
    path.write_bytes(data)
    return decode_file(path, DecodeRequest(plan, FIVE_HZ))


def firsts(result: Decoded) -> list[int]:
    return [number_of(clip[0]) for clip in result.clips]


def without_chunks(data: bytes, chunks: Iterable[int]) -> bytes:
    """The first track's offsets of these chunks lead nowhere."""

    def lead_astray(copy: bytearray) -> None:
        for chunk in chunks:
            struct.pack_into(">I", copy, data.index(b"stco") + 12 + 4 * chunk, 0x7FFFFF00)

    return mapped(data, lead_astray)


def chunk_count(data: bytes) -> int:
    return int(struct.unpack_from(">I", data, data.index(b"stco") + 8)[0])


def with_edit(data: bytes, duration_s: float, start_s: float) -> bytes:
    """The first track's edit list shows only this part; MP4 of the tests' muxer counts in ms there."""
    place = data.index(b"elst") + 12
    (start,) = struct.unpack_from(">i", data, place + 4)
    ticks = start + round(start_s * 60_000)
    return mapped(data, lambda copy: struct.pack_into(">Ii", copy, place, round(duration_s * 1000), ticks))


@pytest.mark.parametrize("bad", [1, 20], ids=["one", "a-second"])
def test_samples_that_cannot_be_read_do_not_end_the_video(bad: int, tmp_path: Path) -> None:
    data = TEN_SECONDS.make()
    assert chunk_count(data) > 200
    result = decoded(without_chunks(data, range(26, 26 + bad)), tmp_path, Dense(32))
    assert result.info.duration_s == pytest.approx(10, abs=0.1)
    whole = [(s * 25, first) for s, first in zip(result.starts_s, firsts(result), strict=True) if s > 2]
    assert [first for _, first in whole] == pytest.approx([due for due, _ in whole], abs=1)
    assert whole[-1][1] == pytest.approx(225, abs=4)


def test_a_tail_that_cannot_be_read_counts_as_not_seen(tmp_path: Path) -> None:
    data = TEN_SECONDS.make()
    result = decoded(without_chunks(data, range(50, chunk_count(data))), tmp_path, Dense(32))
    assert result.starts_s[-1] < 2.0  # nothing is laid out where nothing came
    assert result.info.duration_s == pytest.approx(10, abs=0.1)


def test_a_fragment_that_cannot_be_read_does_not_end_the_video(tmp_path: Path) -> None:
    options = (("movflags", "frag_keyframe+empty_moov"),)
    data = Video(duration_s=10, gop=25, options=(("bf", "0"),), container_options=options).make()
    run = -1
    for _ in range(3):
        run = data.index(b"trun", run + 1)
    result = decoded(
        mapped(data, lambda copy: struct.pack_into(">i", copy, run + 12, 0x7FFFFF00)), tmp_path, Dense(32)
    )
    assert result.info.duration_s == pytest.approx(10, abs=0.1)
    assert firsts(result)[3:] == [75, 100, 125, 150, 175, 200, 225]


def test_what_an_edit_list_leaves_out_counts_as_not_seen(tmp_path: Path) -> None:
    """Players that ignore edit lists show it."""
    result = decoded(with_edit(TEN_SECONDS.make(), 1.0, 0.0), tmp_path, Dense(32))
    assert firsts(result) == [0]
    assert result.info.duration_s == pytest.approx(10, abs=0.1)


def test_pictures_that_an_edit_list_discards_have_no_part_in_the_plan(tmp_path: Path) -> None:
    """Decoding begins a second before the first picture shown. Number 45 is the first."""
    data = with_edit(Video(duration_s=3, gop=25, options=(("bf", "0"),)).make(), 1.2, 1.8)
    result = decoded(data, tmp_path, At((0.0, 0.2)))
    assert firsts(result) == [45, 50]
    assert result.pts_s[0, 0] == pytest.approx(0, abs=0.001)


def test_an_edit_list_that_shows_nothing(tmp_path: Path) -> None:
    data = with_edit(Video(duration_s=1, gop=50, options=(("bf", "0"),)).make(), 0.001, 0.999)
    with pytest.raises(Undecodable):
        decoded(data, tmp_path, Uniform(4))


def test_a_stretched_clock_does_not_draw_the_clips_away(tmp_path: Path) -> None:
    """The last picture is moved by three hours."""
    video = Video(duration_s=2, times_s=[*(index / 25 for index in range(250)), 3 * 3600.0])
    result = decoded(video.make(), tmp_path, Uniform(32))
    assert [first for first in firsts(result) if first < 249] == [
        round(start_s * 25) for start_s in result.starts_s if start_s < 9.95
    ]
    assert sum(start_s < 9.5 for start_s in result.starts_s) >= 9
    assert result.info.duration_s == pytest.approx(3 * 3600, abs=20)  # a share of that was seen


def test_clips_after_a_stretch_keep_their_presentation_times(tmp_path: Path) -> None:
    times_s = [index / 25 + (1000.0 if index >= 125 else 0.0) for index in range(250)]
    result = decoded(Video(duration_s=2, times_s=times_s).make(), tmp_path, Dense(64))
    late = [(start_s, first) for start_s, first in zip(result.starts_s, firsts(result), strict=True)]
    late = [(start_s, first) for start_s, first in late if 1005 <= start_s < 1009.9]
    assert len(late) >= 4
    assert [first for _, first in late] == pytest.approx(
        [(start_s - 1000) * 25 for start_s, _ in late], abs=1
    )
    again = decoded(Video(duration_s=2, times_s=times_s).make(), tmp_path, At((late[-1][0],)))
    assert firsts(again) == [late[-1][1]]  # where a second stage finds it


def test_a_clip_with_one_picture_of_its_own_is_left_out(tmp_path: Path) -> None:
    """Everything from number 76 on is noise; a clip from 3.0 s on shows 75 and then nothing new."""
    data = Video(duration_s=6, container="matroska", gop=1, codec="mjpeg", pix_fmt="yuvj420p").make()
    places = packet_places(data, "video")

    def break_tail(copy: bytearray) -> None:
        for place, size in places[76:]:
            copy[place + 8 : place + size] = bytes(size - 8)

    assert decoded(mapped(data, break_tail), tmp_path, At((1.0, 3.0))).starts_s == (1.0,)


def test_a_recovery_point_is_no_keyframe(tmp_path: Path) -> None:
    """H.264 with one keyframe; recovery points, marked as keyframes in the container, every 10 pictures."""
    options = (("bf", "0"), ("sc_threshold", "0"), ("refs", "1"))
    data = Video(duration_s=4, gop=1000, container="h264", options=options).make()
    result = decoded(with_recovery_points(data, range(10, 100, 10)), tmp_path, At((0.0, 3.0)))
    assert firsts(result) == [0, 75]
    plain = decoded(Video(duration_s=4, gop=1000, options=options).make(), tmp_path, At((0.0, 3.0)))
    assert np.abs(result.clips.astype(int) - plain.clips).max() <= 2


def with_recovery_points(stream: bytes, places: Iterable[int]) -> bytes:
    """An MP4 of a raw H.264 stream."""
    output = io.BytesIO()
    with (
        av.open(io.BytesIO(stream), "r", format="h264") as source,
        av.open(output, "w", format="mp4") as sink,
    ):
        track: Any = sink.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for index, packet in enumerate(packets):
            marked = index in places
            data = START_CODE + RECOVERY_POINT + bytes(packet) if marked else bytes(packet)
            copy = av.Packet(data)
            copy.pts = copy.dts = index
            copy.duration = 1
            copy.time_base = Fraction(1, 25)
            copy.is_keyframe = marked or index == 0
            copy.stream = track
            sink.mux(copy)
    return output.getvalue()


def test_a_second_video_track_is_not_left_unseen(tmp_path: Path) -> None:
    output = io.BytesIO()
    with av.open(output, "w", format="mp4") as sink:
        tracks: list[Any] = [sink.add_stream("mpeg4", rate=25) for _ in range(2)]
        for track in tracks:
            track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for index in range(25):
            for track in tracks:
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 128, np.uint8), format="rgb24")
                frame.pts = index
                sink.mux(track.encode(frame))
        for track in tracks:
            sink.mux(track.encode(None))
    with pytest.raises(MediaLimit, match="2 video tracks"):
        decoded(output.getvalue(), tmp_path, Uniform(4))
