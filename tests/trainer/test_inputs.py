"""Every family of the registry is fed what it takes; sound files are heard; flow fits the frames."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.architectures.registry import FAMILIES
from models.preprocess import log_mel
from models.spec import AudioInput, VideoInput
from tests.synthesis import Video, corners, make_sound, moving_square
from trainer.config import Augment, ConfigError, TrainConfig
from trainer.costs import one_clip
from trainer.data.augment import training_sample
from trainer.data.dataset import Batch, VideoSet
from trainer.data.flow import optical_flow
from trainer.data.inputs import refuse_unserved
from trainer.data.manifest import ManifestError, Stretch
from trainer.data.rolls import ClipCache, Roll, Wanted
from worker.media.sampling import Uniform

VIDEO = VideoInput(frames=4, frame_rate_hz=4, height=32, width=32)
AUDIO = AudioInput(frames=100)
HEARD = Wanted(VIDEO, AUDIO, waveform=True, sees=False)


def config_of(root: Path, name: str, **changes: Any) -> TrainConfig:
    audio = AUDIO if FAMILIES[name].hears else None
    return TrainConfig.model_validate(
        {
            "name": "tiny",
            "version": "0",
            "role": "filter",
            "data": {"root": root, "manifest": "manifest.csv"},
            "labels": [{"name": "motion", "positives": ["moving"]}],
            "video": VIDEO,
            "audio": audio,
            "architecture": {"name": name},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with sound, one without, in one set; a sound file in another."""
    root = tmp_path_factory.mktemp("set")
    Video(duration_s=1.5, fps=12, size=(64, 64), picture=moving_square, tone_hz=500).write(root / "a.mp4")
    Video(duration_s=1.0, fps=12, size=(64, 64), picture=corners).write(root / "b.mp4")
    (root / "c.ogg").write_bytes(make_sound(1.9, 500, "ogg"))
    (root / "manifest.csv").write_text("path,label,group\na.mp4,moving,a\nb.mp4,still,b\n")
    (root / "sounds.csv").write_text("path,label,group\na.mp4,moving,a\nc.ogg,still,c\n")
    return root


def read(root: Path, name: str, **changes: Any) -> VideoSet:
    return VideoSet.read(config_of(root, name, **changes), ClipCache(root / "cache"))


def training(videos: VideoSet) -> Batch:
    return videos.training_batch(np.array([0, 1]), [np.random.default_rng(i) for i in range(2)])


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_is_fed_what_it_takes(name: str, root: Path) -> None:
    videos = read(root, name)
    shapes = {key: value.shape[1:] for key, value in one_clip(name, VIDEO, AUDIO).items()}
    for batch in (training(videos), videos.video(0), videos.video(1)):
        assert list(batch.inputs) == list(FAMILIES[name].inputs)
        assert {key: value.shape[1:] for key, value in batch.inputs.items()} == shapes
        assert {len(value) for value in batch.inputs.values()} == {len(batch)}
    if FAMILIES[name].hears:
        sound = FAMILIES[name].sound
        assert training(videos).inputs["has_audio"].tolist() == [1, 0]
        silence = training(videos).inputs[sound][1]
        assert (silence == silence.min()).all()
        assert training(videos).inputs[sound][0].std() > 0.1


@pytest.mark.parametrize("name", ["audio_log_mel", "audio_waveform"])
def test_a_sound_file_is_heard_by_what_only_listens(name: str, root: Path) -> None:
    videos = read(root, name, data={"root": root, "manifest": "sounds.csv"})
    for _ in range(2):  # decoded, and out of the cache
        batch = videos.video(1)
        assert len(batch) == 2
        assert batch.inputs["has_audio"].tolist() == [1, 1]
        assert not batch.inputs["clips"].any()
        assert batch.inputs[FAMILIES[name].sound].std() > 0.1
    assert not training(videos).inputs["clips"][1].any()


def test_a_sound_file_is_refused_where_something_is_to_be_seen(root: Path) -> None:
    read(root, "audio_log_mel", data={"root": root, "manifest": "sounds.csv"}).decode_all(lambda _: None)
    videos = read(root, "frames_resnet_av", data={"root": root, "manifest": "sounds.csv"})
    with pytest.raises(ManifestError, match=r"c\.ogg: there is no video"):
        videos.video(1)


def test_spectrograms_are_those_of_the_waveform(root: Path) -> None:
    clips = ClipCache(root / "cache").clips(root / "a.mp4", HEARD, Uniform(2))
    assert clips.waveform is not None
    assert clips.log_mel is not None
    expected = log_mel(clips.waveform[0], 0.0, AUDIO)
    np.testing.assert_allclose(clips.log_mel[0, 5:-5], expected[5:-5], atol=0.05)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("c3d", {"audio": AUDIO}, "architecture c3d: audio is given, and it does not hear"),
        ("audio_mfcc", {"audio": None}, "architecture audio_mfcc: audio is missing, and it hears"),
        ("c3d", {"architecture": {"name": "c4d"}}, r"architecture\.name: 'c4d' is not known, known: audio_"),
        (
            "two_stream",
            {"video": VideoInput(frames=1, frame_rate_hz=4, height=32, width=32)},
            r"optical flow needs video\.frames of 2 or more",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(
    name: str, changes: dict[str, Any], message: str, root: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(root, name, **changes)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("two_stream", {}, "architecture two_stream: serving does not give a network optical flow"),
        ("audio_waveform", {}, "architecture audio_waveform: serving does not give a network a waveform"),
        ("early_exit", {}, "architecture early_exit: serving does not read one row of logits for each exit"),
        ("c3d", {"views": {"crops": 3}}, r"data\.views: leave it out; a model that ships"),
    ],
)
def test_what_serving_cannot_give_is_not_shipped(
    name: str, data: dict[str, Any], message: str, root: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        refuse_unserved(config_of(root, name, data={"manifest": "manifest.csv", **data}))
    refuse_unserved(config_of(root, "frames_lite_av"))


def test_mixtures_have_no_teacher(root: Path) -> None:
    with pytest.raises(ValueError, match=r"augment\.mixup and cutmix make clips that no teacher has judged"):
        config_of(root, "c3d", distil={"teachers": ["a.yaml"]}, augment={"cutmix": 1.0})


def textured(shift: tuple[float, float], frames: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(1, frames, 64, 64, 3) waves that move by ``shift`` pixels, right and down, in each frame."""
    y, x = np.mgrid[0:64, 0:64].astype(np.float64)
    made = []
    for index in range(frames):
        right, down = x - index * shift[0], y - index * shift[1]
        wave = np.sin(right / 3.1) + np.sin(down / 3.7) + np.sin((right + down) / 5.3)
        made.append(np.repeat((wave * 40 + 128).astype(np.uint8)[..., None], 3, -1))
    return np.stack(made)[None]


@pytest.mark.parametrize("method", ["dis", "farneback"])
@pytest.mark.parametrize(
    ("shift", "bytes_"), [((0, 0), (128, 128)), ((2, 0), (160, 128)), ((-1, 2), (112, 160))]
)
def test_flow_points_where_things_go(
    method: Any, shift: tuple[float, float], bytes_: tuple[int, int]
) -> None:
    """64 pixels: a byte's range of 128 is 8 pixels."""
    flow = optical_flow(textured(shift), method)
    assert flow.shape == (1, 2, 64, 64, 2)
    assert np.median(flow, axis=(0, 1, 2, 3)).tolist() == pytest.approx(bytes_, abs=2)


@pytest.mark.parametrize(("flip", "right"), [(0.0, 160), (1.0, 96)])
def test_flow_of_a_training_clip_fits_its_frames(flip: float, right: int) -> None:
    """Mirrored, it goes the other way; half the speed gives half the way: every frame of the roll is used."""
    roll = Roll(textured((2, 0), frames=8)[0], 4.0, None)
    wanted = Wanted(VIDEO.model_copy(update={"height": 64, "width": 64}), None, flow="dis")
    plain = Augment(speed=(1, 1), area=(1, 1), stretch=1, flip=flip, light=0.4, grey=0.5)
    sample = training_sample(roll, wanted, plain, np.random.default_rng(0))
    assert sample.flow is not None
    assert torch.median(sample.flow[..., 0]).item() == pytest.approx(right, abs=2)
    twice = plain.model_copy(update={"speed": (2.0, 2.0)})
    sample = training_sample(roll, wanted, twice, np.random.default_rng(0))
    assert sample.flow is not None
    assert torch.median(sample.flow[..., 0]).item() == pytest.approx(2 * right - 128, abs=8)


def test_flow_is_kept_by_method(root: Path) -> None:
    cache = ClipCache(root / "flows")
    wanted = Wanted(VIDEO, None, flow="dis")
    first = cache.clips(root / "a.mp4", wanted, Uniform(2)).flow
    again = cache.clips(root / "a.mp4", wanted, Uniform(2)).flow
    other = cache.clips(root / "a.mp4", replace(wanted, flow="farneback"), Uniform(2)).flow
    assert first is not None
    assert again is not None
    assert other is not None
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_stretch_is_all_that_is_used(tmp_path: Path) -> None:
    """Of a video whose frames are numbered; also where the clip is longer than the stretch."""
    from tests.synthesis import number_of

    path = Video(duration_s=3.0, fps=20.0, size=(96, 64), tone_hz=1000.0).write(tmp_path / "numbered.mp4")
    wanted = Wanted(VideoInput(frames=8, frame_rate_hz=10, height=64, width=96), AudioInput(frames=80), True)
    cache = ClipCache(tmp_path / "cache")
    for _ in range(2):
        clips = cache.clips(path, wanted, Uniform(8), Stretch(2.5, 2.9))
        numbers = [number_of(np.asarray(frame)) for frame in clips.frames[0]]
        assert len(clips.frames) == 1
        assert numbers == [50, 52, 54, 56, 56, 56, 56, 56]
        assert clips.log_mel is not None
        assert clips.waveform is not None
        assert (clips.log_mel[0, 42:] == -1).all()
        assert (clips.log_mel[0, 5:35].max(1) > 0).all()
        assert not clips.waveform[0, 6400:].any()
        assert clips.waveform[0, :6400].std() > 0.1


def test_a_stretch_behind_the_end_is_told(root: Path) -> None:
    with pytest.raises(ManifestError, match=r"a\.mp4: the sampling plan asks for no clip"):
        ClipCache(root / "cache").clips(root / "a.mp4", Wanted(VIDEO, None), Uniform(2), Stretch(7.0, 9.0))
