"""The buffers of a GPU, in the memory of a CPU: ONNX Runtime binds both in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

from tests.inference.tiny import (
    AUDIO,
    EMBEDDING,
    FRAMES,
    SIZE,
    clips,
    embeddings_of,
    logits_of,
    spec,
    write,
)
from worker.inference.buffers import Buffers
from worker.inference.providers import batch_sizes, input_shapes

OUTPUTS = {"logits": 2, "embedding": EMBEDDING.size}


def session(folder: Path) -> ort.InferenceSession:
    return ort.InferenceSession(str(folder / "m.onnx"), providers=["CPUExecutionProvider"])


@pytest.fixture
def buffers(tmp_path: Path) -> Buffers:
    folder = write(tmp_path, embedding=EMBEDDING)
    shapes = input_shapes(spec())
    return Buffers(session(folder), shapes, OUTPUTS, batch_sizes(6), device="cpu", allocate=np.zeros)


def test_every_batch_gets_its_own_answers(buffers: Buffers) -> None:
    for greys in ([7], [1, 2, 3, 4, 5, 6], [0, 255], [9, 8, 7], [200], [5, 4, 3, 2, 1]):
        logits, embeddings = buffers.run({"clips": clips(*greys)})
        np.testing.assert_allclose(logits, logits_of(*greys), atol=1e-6)
        np.testing.assert_allclose(embeddings, embeddings_of(*greys), atol=1e-5)


def test_an_answer_outlives_the_next_batch(buffers: Buffers) -> None:
    first, _ = buffers.run({"clips": clips(10)})
    buffers.run({"clips": clips(200)})
    np.testing.assert_allclose(first, logits_of(10), atol=1e-6)


def test_more_clips_than_the_largest_batch(buffers: Buffers) -> None:
    logits, embeddings = buffers.run({"clips": clips(*range(15))})
    np.testing.assert_allclose(logits, logits_of(*range(15)), atol=1e-6)
    assert embeddings.shape == (15, EMBEDDING.size)


def test_sound_travels_beside_the_clips(tmp_path: Path) -> None:
    folder = write(tmp_path, role="escalation", audio=True)
    shapes = input_shapes(spec("escalation", audio=True))
    bound = Buffers(session(folder), shapes, {"logits": 2}, (1, 2), device="cpu", allocate=np.zeros)
    loud = np.full((2, AUDIO.frames, AUDIO.mels), 0.5, np.float32)
    (logits,) = bound.run({"clips": clips(0, 0), "log_mel": loud, "has_audio": np.array([1, 0], np.float32)})
    np.testing.assert_allclose(logits[:, 0], [10.5, 0.5], atol=1e-5)


def test_memory_is_allocated_once_for_the_largest_batch(tmp_path: Path) -> None:
    taken: list[tuple[int, ...]] = []

    def allocate(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        taken.append(shape)
        return np.zeros(shape, dtype)

    bound = Buffers(
        session(write(tmp_path)),
        input_shapes(spec()),
        {"logits": 2},
        batch_sizes(4),
        device="cpu",
        allocate=allocate,
    )
    for count in (1, 2, 3, 4, 1):
        bound.run({"clips": clips(*range(count))})
    assert taken == [(4, FRAMES, SIZE, SIZE, 3)]
