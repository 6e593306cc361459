"""Whatever a shared server gives back is either what was written or refused."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.cache_examples import same
from worker.cache_format import MAX_CLIPS, Poisoned, pack, unpack
from worker.cascade.types import ContentScores, Look, StageScores
from worker.media.types import MediaInfo

KEY = "k" * 64
INFO = MediaInfo("mp4", "h264", 640, 360, 29.97, 12.5, has_audio=True)


def stage(columns: int, values: list[float]) -> StageScores:
    rows = len(values)
    return StageScores(
        labels=tuple(f"label-{i}" for i in range(columns)),
        starts_s=tuple(i * 1.7 for i in range(rows)),
        clip_s=2.0,
        probabilities=np.tile(np.array(values, np.float32)[:, None], (1, columns)),
    )


def content(*values: float) -> ContentScores:
    return ContentScores(INFO, (Look(stage(1, list(values))),))


VALUES = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20)
STAGES = st.builds(stage, st.integers(1, 4), VALUES)


LOOKS = st.lists(st.builds(Look, STAGES, st.none() | STAGES), min_size=1, max_size=4).map(tuple)


EMBEDDINGS = st.none() | st.lists(st.floats(-1, 1, width=32), max_size=5).map(
    lambda values: np.array(values, np.float32)
)


@given(LOOKS, EMBEDDINGS)
def test_there_and_back(looks: tuple[Look, ...], embedding: npt.NDArray[np.float32] | None) -> None:
    scores = ContentScores(INFO, looks, embedding)
    assert same(unpack(KEY, pack(KEY, scores)), scores)


@given(st.data())
def test_damage_never_does_anything_else_than_being_refused(data: st.DataObject) -> None:
    value = bytearray(pack(KEY, content(0.25, 0.5)))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    value = value[: data.draw(st.integers(0, len(value)))]
    try:
        found = unpack(KEY, bytes(value))
    except Poisoned:
        return
    assert ((found.filter.probabilities >= 0) & (found.filter.probabilities <= 1)).all()


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(Poisoned):
        unpack(KEY, noise)


def test_what_would_be_refused_is_not_written() -> None:
    with pytest.raises(ValueError, match="starts_s"):
        pack(KEY, content(*[0.5] * (MAX_CLIPS + 1)))
    with pytest.raises(ValueError, match="probabilities"):
        pack(KEY, content(1.5))
