"""Every odd, broken and hostile file at hand ends in clips or in a MediaError, and decoding lives on."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.spec import AudioInput, VideoInput
from tests import parts
from worker.clock import Deadline, SystemClock
from worker.errors import MediaError
from worker.media.pool import DecodePool
from worker.media.sampling import Uniform
from worker.media.types import Decoded, DecodeRequest, Media
from worker.settings import DecodeSettings

CLOCK = SystemClock()
VIDEO = VideoInput(frames=4, frame_rate_hz=4, height=64, width=64)
REQUEST = DecodeRequest(Uniform(4), VIDEO, AudioInput(frames=100))
WHOLE_S = 80


@pytest.mark.slow
def test_every_file_ends_in_clips_or_a_media_error(capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(path for path in parts.media_dir().rglob("*") if path.is_file())
    assert files
    everything = Deadline.after(CLOCK, WHOLE_S)
    # Large plain ones last, so that a slow machine still meets every odd one.
    files.sort(key=lambda path: path.stat().st_size)
    with DecodePool(DecodeSettings(job_timeout_s=4), CLOCK) as pool, ThreadPoolExecutor(3) as threads:
        outcomes = Counter(threads.map(lambda path: outcome(pool, path, everything), files))
    with capsys.disabled():
        print(
            f"\n{len(files)} files: "
            + ", ".join(f"{reason} {count}" for reason, count in outcomes.most_common())
        )
    assert outcomes["decoder_crashed"] == 0
    assert outcomes["decoded"] > 100


def outcome(pool: DecodePool, path: Path, everything: Deadline) -> str:
    if everything.passed:
        return "not tried"
    with path.open("rb") as file:
        try:
            decoded = pool.decode(Media(file, path.stat().st_size, ""), REQUEST, Deadline.after(CLOCK, 30))
        except MediaError as error:
            return error.reason
    check(decoded)
    return "decoded"


def check(decoded: Decoded) -> None:
    """What must hold for whatever was decoded."""
    info = decoded.info
    assert min(info.width, info.height) > 0
    assert 0 < info.duration_s <= DecodeSettings().max_duration_s
    assert info.fps >= 0
    assert 1 <= len(decoded.starts_s) <= 4
    assert all(before < after for before, after in itertools.pairwise(decoded.starts_s))
    assert decoded.starts_s[-1] <= info.duration_s
    assert (decoded.pts_s[:, 1:] >= decoded.pts_s[:, :-1]).all()
    assert decoded.log_mel is None or abs(decoded.log_mel).max() < 2
