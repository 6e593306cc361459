"""The right frame at the right time, whatever the file looks like. Frames carry their number."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from models.spec import VideoInput
from tests.synthesis import Video, corners, make_sound, mapped, number_of, still, with_noisy_tail
from worker.errors import MediaError, MediaLimit, NoVideo, Undecodable
from worker.media.container import DecodeLimits
from worker.media.decode import decode_file
from worker.media.sampling import At, Dense, Plan, Uniform
from worker.media.types import Decoded, DecodeRequest

FRAGMENTED = (("movflags", "frag_keyframe+empty_moov"),)
FIVE_HZ = VideoInput(frames=5, frame_rate_hz=5, height=64, width=100)  # clips of one second


def decoded(
    data: bytes, folder: Path, plan: Plan, video: VideoInput = FIVE_HZ, limits: DecodeLimits | None = None
) -> Decoded:
    path = folder / "video"
    path.write_bytes(data)
    return decode_file(path, DecodeRequest(plan, video), limits)


def numbers(result: Decoded) -> list[list[int]]:
    return [[number_of(picture) for picture in clip] for clip in result.clips]


@pytest.mark.parametrize(
    "video",
    [
        Video(duration_s=4),
        Video(duration_s=4, container="matroska"),
        Video(duration_s=4, container="mpegts"),
        Video(duration_s=4, container="flv", codec="flv"),
        Video(duration_s=4, container="webm", codec="libvpx-vp9"),
        Video(duration_s=4, container="avi", codec="mjpeg", pix_fmt="yuvj420p"),
        Video(duration_s=4, container="gif", codec="gif", pix_fmt="rgb8"),
        Video(duration_s=4, container="mov", codec="mpeg4"),
        Video(duration_s=4, tone_hz=440),
        Video(duration_s=4, gop=1),
        Video(duration_s=4, gop=1000),
        Video(duration_s=4, start_s=1.48),
        Video(duration_s=4, container_options=FRAGMENTED),
    ],
    ids=lambda video: f"{video.container}-{video.codec}-{video.gop}-{video.start_s}",
)
def test_frames_are_those_shown_at_the_times_of_the_plan(video: Video, tmp_path: Path) -> None:
    result = decoded(video.make(), tmp_path, At((0.0, 1.0, 3.0)))
    assert result.info.duration_s == pytest.approx(4.0, abs=0.05)
    assert result.info.fps == pytest.approx(25, abs=0.5)
    assert result.starts_s == pytest.approx((0.0, 1.0, 3.0), abs=0.05)
    expected = [[0, 5, 10, 15, 20], [25, 30, 35, 40, 45], [75, 80, 85, 90, 95]]
    assert numbers(result) == expected
    assert result.pts_s == pytest.approx(np.array(expected) / 25, abs=0.002)


def test_overlapping_clips_share_frames(tmp_path: Path) -> None:
    result = decoded(Video(duration_s=2).make(), tmp_path, At((0.0, 0.2, 0.4)))
    assert numbers(result) == [[0, 5, 10, 15, 20], [5, 10, 15, 20, 25], [10, 15, 20, 25, 30]]


def test_a_frame_stays_on_the_screen_until_the_next(tmp_path: Path) -> None:
    """Variable frame rate: number 1 from 0.1 s to 0.9 s, number 2 from 0.9 s on."""
    video = Video(duration_s=2.0, times_s=(0.0, 0.1, 0.9, 1.05, 1.1, 1.5), options=(("bf", "0"),))
    result = decoded(video.make(), tmp_path, At((0.0, 1.0)))
    assert numbers(result) == [[0, 1, 1, 1, 1], [2, 4, 4, 5, 5]]
    assert result.pts_s[0].tolist() == pytest.approx([0, 0.1, 0.1, 0.1, 0.1])


def test_a_rate_above_that_of_the_video_repeats_frames(tmp_path: Path) -> None:
    video = VideoInput(frames=6, frame_rate_hz=50, height=64, width=100)
    result = decoded(Video(duration_s=1).make(), tmp_path, At((0.2,)), video)
    assert numbers(result) == [[5, 5, 6, 6, 7, 7]]


def test_a_video_shorter_than_a_clip_holds_its_last_frame(tmp_path: Path) -> None:
    result = decoded(Video(duration_s=0.4).make(), tmp_path, Uniform(4))
    assert result.starts_s == (0.0,)
    assert numbers(result) == [[0, 5, 9, 9, 9]]


def test_only_what_is_needed_is_decoded(tmp_path: Path) -> None:
    """Two clips of a minute: 25 frames each and at most one GOP before; all would be 1500."""
    data = Video(duration_s=60, size=(64, 48), gop=25).make()
    result = decoded(data, tmp_path, At((20.3, 50.6)), limits=DecodeLimits(max_frames=120))
    assert number_of(result.clips[0, 0]) == 507
    assert number_of(result.clips[1, 0]) == 1265 % 1024


def test_a_false_keyframe_does_not_lead_to_wrong_frames(tmp_path: Path) -> None:
    """The container's list of keyframes (stss) names a frame that is none."""
    data = Video(duration_s=4, gop=25, options=(("bf", "0"), ("sc_threshold", "0"))).make()
    place = data.index(b"stss") + 8
    (count,) = struct.unpack_from(">I", data, place)
    assert count == 4

    def lie(copy: bytearray) -> None:
        struct.pack_into(">4I", copy, place + 4, 1, 40, 60, 70)

    result = decoded(mapped(data, lie), tmp_path, At((0.0, 3.0)))
    assert numbers(result) == [[0, 5, 10, 15, 20], [75, 80, 85, 90, 95]]


def test_a_duration_that_is_too_short_does_not_hide_the_rest_of_the_video(tmp_path: Path) -> None:
    """Matroska's says a tenth of the truth; the packets decide."""
    data = Video(duration_s=4, container="matroska").make()
    element = data.index(b"\x44\x89\x88")  # Duration, 8 bytes, float
    assert struct.unpack_from(">d", data, element + 3)[0] == pytest.approx(4000, abs=100)
    lying = mapped(data, lambda copy: struct.pack_into(">d", copy, element + 3, 400.0))
    result = decoded(lying, tmp_path, Dense(32))
    assert result.info.duration_s == pytest.approx(4.0, abs=0.05)
    assert numbers(result)[-1][0] == 75


@pytest.mark.parametrize(
    ("rotation", "mirrored", "layout"),
    [
        (0, False, ["red", "green", "blue", "white"]),
        (90, False, ["green", "white", "red", "blue"]),
        (180, False, ["white", "blue", "green", "red"]),
        (270, False, ["blue", "red", "white", "green"]),
        (0, True, ["green", "red", "white", "blue"]),
    ],
)
def test_pictures_are_turned_upright(
    rotation: int, mirrored: bool, layout: list[str], tmp_path: Path
) -> None:
    """Corners are named from left to right, above and below."""
    names = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue", (255, 255, 255): "white"}
    video = Video(picture=corners, rotation=rotation, mirrored=mirrored)
    result = decoded(
        video.make(), tmp_path, At((0.0,)), VideoInput(frames=1, frame_rate_hz=1, height=80, width=120)
    )
    places = [result.clips[0, 0, y, x] for y in (20, 60) for x in (30, 90)]
    assert [names[tuple(np.where(place > 127, 255, 0).tolist())] for place in places] == layout
    expected = (120, 160) if rotation in (90, 270) else (160, 120)
    assert (result.info.width, result.info.height) == expected


def test_letterbox_keeps_the_aspect_ratio(tmp_path: Path) -> None:
    video = VideoInput(frames=1, frame_rate_hz=1, height=100, width=100, fit="letterbox")
    white = Video(size=(200, 100), picture=lambda *_: np.full((100, 200, 3), 255, np.uint8))
    picture = decoded(white.make(), tmp_path, At((0.0,)), video).clips[0, 0]
    assert (picture[:25] == 0).all()
    assert (picture[25:75] > 250).all()
    assert (picture[75:] == 0).all()


def test_letterbox_of_a_turned_video(tmp_path: Path) -> None:
    video = VideoInput(frames=1, frame_rate_hz=1, height=100, width=100, fit="letterbox")
    white = Video(size=(200, 100), rotation=90, picture=lambda *_: np.full((100, 200, 3), 255, np.uint8))
    picture = decoded(white.make(), tmp_path, At((0.0,)), video).clips[0, 0]
    assert (picture[:, :25] == 0).all()
    assert (picture[:, 25:75] > 250).all()


@pytest.mark.parametrize("shade", [0, 64, 128, 255])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv444p", "yuv420p10le"])
def test_grey_keeps_its_level(shade: int, pix_fmt: str, tmp_path: Path) -> None:
    """Limited and full range, eight and ten bits."""
    grey = Video(duration_s=0.2, pix_fmt=pix_fmt, picture=lambda *_: np.full((120, 160, 3), shade, np.uint8))
    picture = decoded(grey.make(), tmp_path, At((0.0,))).clips[0, 0]
    assert picture.mean() == pytest.approx(shade, abs=3)


@pytest.mark.parametrize("size", [(162, 90), (34, 66), (1918, 22), (16, 16)])
def test_odd_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    result = decoded(Video(duration_s=0.4, size=size).make(), tmp_path, At((0.0,)))
    assert (result.info.width, result.info.height) == size
    assert result.clips.shape == (1, 5, 64, 100, 3)


def test_an_odd_width_in_pixels(tmp_path: Path) -> None:
    video = Video(duration_s=0.4, size=(161, 91), pix_fmt="yuv444p")
    assert numbers(decoded(video.make(), tmp_path, At((0.0,))))[0][:2] == [0, 5]


def test_a_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    result = decoded(still(64, 48, shade=200), tmp_path, Uniform(8))
    assert result.starts_s == (0.0,)
    assert (result.clips > 195).all()
    assert result.info.fps == 0.0


def test_a_truncated_file_gives_what_is_left_of_it(tmp_path: Path) -> None:
    data = Video(duration_s=8, container_options=FRAGMENTED, gop=10).make()
    result = decoded(data[: len(data) // 2], tmp_path, Dense(32))
    assert 1.0 < result.info.duration_s < 7.0
    assert result.starts_s[-1] + 1.0 <= result.info.duration_s + 0.1
    for clip, start_s in zip(numbers(result)[:-1], result.starts_s, strict=False):
        assert clip[0] == pytest.approx(start_s * 25, abs=1)


def test_a_clip_without_frames_of_its_own_is_left_out(tmp_path: Path) -> None:
    """The packets from 4 s on are noise: clips there must not repeat what was seen at 4 s."""
    data = Video(
        duration_s=8, size=(64, 48), container="matroska", gop=1, codec="mjpeg", pix_fmt="yuvj420p"
    ).make()
    result = decoded(with_noisy_tail(data, 100), tmp_path, At((0.0, 2.0, 5.0, 7.0)))
    assert result.starts_s == (0.0, 2.0)
    assert result.missing == 2
    assert numbers(result) == [[0, 5, 10, 15, 20], [50, 55, 60, 65, 70]]
    assert result.info.duration_s == pytest.approx(8.0, abs=0.1)  # coverage is seen against the whole


def test_two_recordings_in_one_stream_are_both_seen(tmp_path: Path) -> None:
    """Concatenated MPEG-TS: the clock starts again in the middle."""
    first = Video(duration_s=2, container="mpegts", gop=10).make()
    result = decoded(first + first, tmp_path, Dense(32))
    assert result.info.duration_s == pytest.approx(4.0, abs=0.2)
    assert len(result.starts_s) == 4
    assert [clip[0] for clip in numbers(result)] == pytest.approx([0, 25, 0, 25], abs=3)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Undecodable),
        (b"\0" * 5000, Undecodable),
        (b"not a video, but text " * 100, Undecodable),
        (make_sound(container="wav"), NoVideo),
        (make_sound(container="mp3"), NoVideo),
        (make_sound(container="ogg"), NoVideo),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", Undecodable),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n", Undecodable),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", Undecodable),
    ],
    ids=["empty", "zeros", "text", "wav", "mp3", "ogg", "concat", "hls", "sdp"],
)
def test_what_is_not_a_video(data: bytes, error: type[MediaError], tmp_path: Path) -> None:
    with pytest.raises(error):
        decoded(data, tmp_path, Uniform(8))


def test_cover_art_is_not_video(tmp_path: Path) -> None:
    with pytest.raises(NoVideo):
        decoded(with_cover(make_sound(container="mp3"), still(64, 64)), tmp_path, Uniform(8))


def test_headers_without_frames(tmp_path: Path) -> None:
    data = Video(duration_s=1, container_options=FRAGMENTED).make()
    with pytest.raises(Undecodable):
        decoded(data[: data.index(b"moof") - 4], tmp_path, Uniform(8))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (DecodeLimits(max_pixels=100 * 100), "max_pixels"),
        (DecodeLimits(max_frames=10), "max_frames"),
        (DecodeLimits(max_packets=10), "packets"),
        (DecodeLimits(max_streams=1), "max_streams"),
        (DecodeLimits(max_duration_s=1.0), "max_duration_s"),
    ],
)
def test_limits(limits: DecodeLimits, words: str, tmp_path: Path) -> None:
    with pytest.raises(MediaLimit, match=words):
        decoded(Video(duration_s=2, tone_hz=440).make(), tmp_path, Uniform(8), limits=limits)


def with_cover(mp3: bytes, png: bytes) -> bytes:
    """Put an ID3v2.3 tag with a picture before an MP3."""
    mp3 = mp3[mp3.index(b"\xff\xfb") :] if b"\xff\xfb" in mp3 else mp3
    picture = b"\0image/png\0\x03\0" + png
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    size = len(frame)
    syncsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + syncsafe + frame + mp3
