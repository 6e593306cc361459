"""Sound, aligned to the clips of the video beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.spec import AudioInput, VideoInput
from tests.synthesis import Video, mapped, packet_places
from worker.media.decode import decode_file
from worker.media.sampling import At, Dense, Plan
from worker.media.types import Decoded, DecodeRequest

AUDIO = AudioInput(frames=100)  # one second
VIDEO = VideoInput(frames=2, frame_rate_hz=2, height=32, width=32)


def decoded(data: bytes, folder: Path, plan: Plan) -> Decoded:
    path = folder / "video"
    path.write_bytes(data)
    return decode_file(path, DecodeRequest(plan, VIDEO, AUDIO))


def loudest_hz(log_mel: np.ndarray) -> float:
    """Centre of the mel band that is loudest on average."""
    edges = np.linspace(_mel(AUDIO.min_hz), _mel(AUDIO.max_hz), AUDIO.mels + 2)[1:-1]
    return float(700 * (10 ** (edges[log_mel.mean(axis=0).argmax()] / 2595) - 1))


def _mel(hz: float) -> float:
    return 2595 * float(np.log10(1 + hz / 700))


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
@pytest.mark.parametrize("tone_hz", [440.0, 2000.0])
def test_the_spectrogram_shows_the_tone(container: str, tone_hz: float, tmp_path: Path) -> None:
    data = Video(duration_s=4, size=(64, 48), container=container, tone_hz=tone_hz).make()
    result = decoded(data, tmp_path, At((0.0, 2.0)))
    assert result.log_mel is not None
    assert result.log_mel.shape == (2, 100, 64)
    for clip in result.log_mel:
        assert loudest_hz(clip) == pytest.approx(tone_hz, rel=0.08)


def test_silence_where_the_sound_has_not_begun(tmp_path: Path) -> None:
    """The tone of a video whose container starts at 0 s is heard from the first picture on."""
    data = Video(duration_s=4, size=(64, 48), tone_hz=1000, start_s=2.0).make()
    result = decoded(data, tmp_path, At((0.0,)))
    assert result.log_mel is not None
    assert result.log_mel[0, 5:].max(axis=1).min() > 0.5


def test_sound_that_ends_before_the_video(tmp_path: Path) -> None:
    long = Video(duration_s=2, times_s=[index / 5 for index in range(40)], size=(64, 48), tone_hz=1000)
    result = decoded(long.make(), tmp_path, At((0.5, 6.0)))
    assert result.log_mel is not None
    assert result.log_mel[0].max(axis=1).min() > 0.5
    assert (result.log_mel[1] == -1).all()


def test_clips_far_apart_are_the_same_as_clips_decoded_in_one_go(tmp_path: Path) -> None:
    data = Video(duration_s=12, size=(64, 48), tone_hz=700).make()
    apart = decoded(data, tmp_path, At((9.0,))).log_mel
    together = decoded(data, tmp_path, Dense(64)).log_mel
    assert apart is not None
    assert together is not None
    assert np.abs(apart[0] - together[9]).max() < 0.05


def test_a_video_without_sound_has_none(tmp_path: Path) -> None:
    result = decoded(Video(duration_s=1, size=(64, 48)).make(), tmp_path, At((0.0,)))
    assert result.log_mel is None
    assert not result.info.has_audio


def test_sound_is_left_out_where_the_clock_starts_again(tmp_path: Path) -> None:
    """Concatenated MPEG-TS: pictures are carried on, and nothing says where their sound lies then."""
    part = Video(duration_s=2, size=(64, 48), container="mpegts", tone_hz=440).make()
    assert decoded(part, tmp_path, Dense(8)).log_mel is not None
    result = decoded(part + part, tmp_path, Dense(8))
    assert len(result.starts_s) >= 4
    assert result.log_mel is None
    assert result.info.has_audio


def test_made_up_picture_times_do_not_cost_the_sound(tmp_path: Path) -> None:
    """AVI has no presentation times."""
    data = Video(duration_s=4, size=(64, 48), container="avi", codec="mjpeg", pix_fmt="yuvj420p", tone_hz=440)
    result = decoded(data.make(), tmp_path, At((1.0,)))
    assert result.log_mel is not None
    assert loudest_hz(result.log_mel[0]) == pytest.approx(440, rel=0.08)


def test_broken_sound_does_not_fail_the_video(tmp_path: Path) -> None:
    data = Video(duration_s=2, size=(64, 48), tone_hz=440, sound_codec="aac").make()

    def break_packets(copy: bytearray) -> None:
        for place, size in packet_places(data, "audio"):
            copy[place : place + size] = b"\xff" * size

    result = decoded(mapped(data, break_packets), tmp_path, At((0.0,)))
    assert result.log_mel is None
    assert result.clips.shape[0] == 1
