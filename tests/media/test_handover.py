"""What a decoder process that was taken over might answer: nothing of it is believed."""

from __future__ import annotations

import json
import mmap
import os
import resource
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from models.spec import AudioInput, VideoInput
from worker.errors import DecoderCrashed, MediaLimit, Undecodable
from worker.media import decoder_process
from worker.media.container import DecodeLimits
from worker.media.handover import ClipBuffer, error_answer, parse_answer, read_answer
from worker.media.sampling import Uniform
from worker.media.types import Decoded, DecodeRequest, MediaInfo

VIDEO = VideoInput(frames=2, frame_rate_hz=2, height=16, width=16)
AUDIO = AudioInput(frames=3, mels=8)
REQUEST = DecodeRequest(Uniform(2), VIDEO, AUDIO)
INFO = MediaInfo("mov", "h264", 320, 240, 25.0, 4.0, True)


@pytest.fixture
def memory() -> Iterator[int]:
    fd = os.memfd_create("clips", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    yield fd
    os.close(fd)


def honest(memory: int) -> dict[str, Any]:
    """The answer to a job that brought two of three planned clips."""
    buffer = ClipBuffer(memory, 1_000_000)
    clips = buffer.allocate((3, *VIDEO.clip_shape))
    clips[0], clips[1] = 1, 2
    pts_s = np.arange(4, dtype=np.float64).reshape(2, 2)
    log_mel = np.full((2, 3, 8), 0.5, np.float32)
    return parse_answer(buffer.answer(Decoded(INFO, clips[:2], pts_s, (0.0, 2.0), 1, log_mel, 0.25)))


def test_an_honest_answer(memory: int) -> None:
    decoded = read_answer(honest(memory), memory, REQUEST)
    assert decoded.info == INFO
    assert decoded.starts_s == (0.0, 2.0)
    assert decoded.missing == 1
    assert decoded.clips.reshape(2, -1).mean(axis=1).tolist() == [1, 2]
    assert decoded.pts_s.tolist() == [[0, 1], [2, 3]]
    assert decoded.log_mel is not None
    assert (decoded.log_mel == 0.5).all()
    assert decoded.decode_s == 0.25


def test_the_memory_cannot_shrink_under_the_arrays(memory: int) -> None:
    decoded = read_answer(honest(memory), memory, REQUEST)
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 0)
    assert decoded.clips.any()


@pytest.mark.parametrize(
    "change",
    [
        {"starts_s": []},
        {"starts_s": [0.0] * 10_000},
        {"starts_s": [float(index) for index in range(10_000)]},  # more than there is
        {"starts_s": [2.0, 0.0]},
        {"starts_s": [0.0, float("nan")]},
        {"starts_s": [-1.0, 0.0]},
        {"starts_s": "x2"},
        {"starts_s": None},
        {"places": {}},
        {"places": {"pts_s": -64}},
        {"places": {"pts_s": 10**12}},
        {"places": {"pts_s": 0.5}},
        {"places": {"pts_s": 1536, "log_mel": 10**30}},
        {"places": []},
        {"info": {}},
        {"info": None},
        {"decode_s": float("nan")},
        {"decode_s": "soon"},
        {"reason": "no_such_reason", "message": "x"},
        {"reason": ["undecodable"], "message": "x"},
        {"reason": "undecodable"},
    ],
)
def test_answers_that_make_no_sense(change: dict[str, Any], memory: int) -> None:
    with pytest.raises(DecoderCrashed, match="no sense"):
        read_answer(honest(memory) | change, memory, REQUEST)


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b"1", b"\xff\xfe", b"null", b"[" * 100_000])
def test_messages_that_are_no_answer(message: bytes) -> None:
    with pytest.raises(DecoderCrashed):
        parse_answer(message)


def test_a_memory_file_that_is_empty(memory: int) -> None:
    answer = honest(memory)
    os.ftruncate(memory, 0)
    with pytest.raises(DecoderCrashed):
        read_answer(answer, memory, REQUEST)


def test_errors_keep_their_kind_and_lose_control_characters(memory: int) -> None:
    answer = parse_answer(error_answer(Undecodable("bad \x1b[31mcodec\n" + "x" * 1000)))
    with pytest.raises(Undecodable) as raised:
        read_answer(answer, memory, REQUEST)
    assert str(raised.value).startswith("bad ?[31mcodec?x")
    assert len(str(raised.value)) == 400


def test_more_clips_than_memory(memory: int) -> None:
    with pytest.raises(MediaLimit, match="1000"):
        ClipBuffer(memory, 1000).allocate((3, *VIDEO.clip_shape))


def test_an_answer_fits_into_a_message() -> None:
    starts = [index * 3.3333333333333335 for index in range(1024)]
    assert len(json.dumps(starts)) < 64 * 1024


@pytest.mark.parametrize("error", [MemoryError(), OSError(27, "File too large")])
def test_a_process_at_its_limits_says_so(
    error: Exception, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_process, "decode", Mock(side_effect=error))
    monkeypatch.setattr(resource, "setrlimit", Mock())  # not of the tests
    config = decoder_process.DecoderConfig(DecodeLimits(), 1_000_000, 10, 10)
    answer = parse_answer(decoder_process._run(REQUEST, memory, memory, config))
    with pytest.raises(MediaLimit, match=r"memory|large"):
        read_answer(answer, memory, REQUEST)


def test_memory_that_cannot_be_mapped(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by the worker: an answer over the address space that is left."""
    answer = honest(memory)
    monkeypatch.setattr(mmap, "mmap", Mock(side_effect=OSError(12, "Cannot allocate memory")))
    with pytest.raises(DecoderCrashed):
        read_answer(answer, memory, REQUEST)
