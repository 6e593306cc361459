"""Rolls, clips and training samples, through the decoder that serving uses."""

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.spec import AudioInput, VideoInput
from tests.synthesis import Video, number_of
from trainer.config import Augment, Data, TrainConfig
from trainer.data.augment import training_sample
from trainer.data.dataset import VideoSet
from trainer.data.rolls import CacheUnwritable, ClipCache, Roll, RollShape, Wanted
from worker.media.sampling import Uniform

VIDEO = VideoInput(frames=4, frame_rate_hz=5, height=40, width=60)
AUDIO = AudioInput(frames=80)
WANTED = Wanted(VIDEO, AUDIO)
SILENT = Wanted(VIDEO, None)
PLAIN = Augment(speed=(1.0, 1.0), area=(1.0, 1.0), stretch=1.0, flip=0.0, light=0.0, grey=0.0, sound_gain=0.0)
DATA = Data(root=Path(), manifest=Path(), roll_seconds=3.0, oversampling=2, margin=0.5)


@pytest.fixture
def cache(tmp_path: Path) -> ClipCache:
    return ClipCache(tmp_path / "cache")


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    return Video(duration_s=2.0, fps=20.0, tone_hz=1000.0).write(tmp_path / "numbered.mp4")


def test_a_roll_is_finer_than_the_input_and_ends_with_the_video(cache: ClipCache, numbered: Path) -> None:
    roll = cache.roll(numbered, RollShape.of(WANTED, DATA))
    assert roll.frames.shape == (20, 60, 90, 3)  # 2 s at 10 Hz, half again as high and wide
    assert roll.frame_rate_hz == 10
    assert [number_of(np.asarray(frame)) for frame in roll.frames] == list(range(0, 40, 2))
    assert roll.log_mel is not None
    assert roll.log_mel.shape == (300, 64)


def test_clips_are_those_that_serving_takes(cache: ClipCache, numbered: Path) -> None:
    clips = cache.clips(numbered, WANTED, Uniform(8))
    assert clips.frames.shape == (3, 4, 40, 60, 3)  # 0.8 s each cover 2 s in three
    assert number_of(np.asarray(clips.frames[1, 0])) == 12
    assert clips.log_mel is not None
    assert clips.log_mel.shape == (3, 80, 64)


def test_what_was_decoded_is_read_from_the_cache(cache: ClipCache, numbered: Path) -> None:
    first = cache.clips(numbered, SILENT, Uniform(8))
    written = {file: file.stat().st_mtime_ns for file in cache.folder.iterdir()}
    second = cache.clips(numbered, SILENT, Uniform(8))
    assert np.array_equal(first.frames, second.frames)
    assert {file: file.stat().st_mtime_ns for file in cache.folder.iterdir()} == written


def test_a_changed_file_is_decoded_again(cache: ClipCache, numbered: Path) -> None:
    before = len(cache.clips(numbered, SILENT, Uniform(8)).frames)
    Video(duration_s=0.8, fps=20.0).write(numbered)
    assert (before, len(cache.clips(numbered, SILENT, Uniform(8)).frames)) == (3, 1)


def test_a_full_disk_is_named(cache: ClipCache, numbered: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(CacheUnwritable, match=f"cannot be kept in {cache.folder}: .*--cache"):
            cache.clips(numbered, SILENT, Uniform(8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(cache.folder.iterdir()) == []
    assert len(cache.clips(numbered, SILENT, Uniform(8)).frames) == 3


def test_a_silent_video_has_no_spectrogram(cache: ClipCache, tmp_path: Path) -> None:
    silent = Video(duration_s=1.0).write(tmp_path / "silent.mp4")
    assert cache.roll(silent, RollShape.of(WANTED, DATA)).log_mel is None


def roll_of_numbers(frames: int) -> Roll:
    """Frame i is grey i * 5; spectrogram row j is j / 1000."""
    pictures = np.broadcast_to(
        (np.arange(frames) * 5).astype(np.uint8)[:, None, None, None], (frames, 50, 70, 3)
    )
    log_mel = np.broadcast_to(np.arange(300)[:, None] / 1000, (300, AUDIO.mels)).astype(np.float32)
    return Roll(pictures, 10.0, log_mel)


def shades(roll: Roll, augment: Augment, seed: int, audio: AudioInput | None = None) -> list[int]:
    sample = training_sample(roll, replace(SILENT, audio=audio), augment, np.random.default_rng(seed))
    assert sample.clip.shape == (4, 40, 60, 3)
    return [round(float(frame.mean()) / 5) for frame in sample.clip]


@pytest.mark.parametrize("seed", range(5))
def test_frames_keep_the_distance_of_the_input(seed: int) -> None:
    first, *rest = shades(roll_of_numbers(20), PLAIN, seed)
    assert rest == [first + 2, first + 4, first + 6]


def test_speed_changes_the_distance() -> None:
    assert np.ptp(shades(roll_of_numbers(40), PLAIN.model_copy(update={"speed": (2.0, 2.0)}), 0)) == 12


def test_a_short_video_stays_on_its_last_frame() -> None:
    assert shades(roll_of_numbers(5), PLAIN, 0) == [0, 2, 4, 4]


@pytest.mark.parametrize("seed", range(3))
def test_sound_starts_with_the_clip(seed: int) -> None:
    sample = training_sample(roll_of_numbers(20), WANTED, PLAIN, np.random.default_rng(seed))
    assert sample.log_mel is not None
    first_s = float(sample.clip[0].mean()) / 5 / 10  # presentation time of the first frame
    assert float(sample.log_mel[0, 0]) * 1000 * AUDIO.hop_s == pytest.approx(first_s, abs=0.06)


def test_sound_after_the_end_is_silence() -> None:
    roll = Roll(roll_of_numbers(8).frames, 10.0, np.zeros((50, AUDIO.mels), np.float32))
    sample = training_sample(roll, WANTED, PLAIN, np.random.default_rng(0))
    assert sample.log_mel is not None
    assert set(sample.log_mel[:50].flatten().tolist()) <= {0.0, -1.0}
    assert (sample.log_mel[50:] == -1.0).all()


def test_a_picture_changes_the_same_way_in_every_frame() -> None:
    still = Roll(
        np.broadcast_to(np.arange(70, dtype=np.uint8)[None, None, :, None] * 3, (20, 50, 70, 3)), 10.0, None
    )
    sample = training_sample(still, SILENT, Augment(flip=1.0), np.random.default_rng(0))
    assert (sample.clip == sample.clip[:1]).all()
    assert float(sample.clip[0, 0, 0, 0]) > float(sample.clip[0, 0, -1, 0])  # mirrored


def test_the_same_seed_gives_the_same_sample() -> None:
    first, second = (
        training_sample(roll_of_numbers(20), WANTED, Augment(), np.random.default_rng(7)) for _ in range(2)
    )
    assert first.clip.equal(second.clip)


def test_what_is_never_trained_on_is_said(tmp_path: Path) -> None:
    """A video of 2 s, of which a roll of half a second shows the beginning; a stretch of it is whole."""
    Video(duration_s=2.0, fps=20.0).write(tmp_path / "a.mp4")
    Video(duration_s=0.5, fps=20.0).write(tmp_path / "b.mp4")
    (tmp_path / "main.csv").write_text(
        "path,label,group,start_s,end_s\na.mp4,x,a,0,1.5\na.mp4,x,a,1.5,2\nb.mp4,y,b,,\n"
    )
    config = {
        "name": "tiny",
        "version": "0",
        "role": "filter",
        "data": {"root": tmp_path, "manifest": "main.csv", "roll_seconds": 0.5},
        "labels": [{"name": "x", "positives": ["x"]}],
        "video": VIDEO,
        "architecture": {"name": "r2plus1d"},
    }
    lines: list[str] = []
    videos = VideoSet.read(TrainConfig.model_validate(config), ClipCache(tmp_path / "cache"))
    assert videos.decode_all(lines.append) == pytest.approx([1.5, 0.5, 0.5])
    assert len(lines) == 1
    assert lines[0].startswith("1 of 3 videos are longer than the 0.5 s that training draws clips from")
    lines.clear()
    longer = videos.config.data.model_copy(update={"roll_seconds": 1.5})
    replace(videos, config=videos.config.model_copy(update={"data": longer})).decode_all(lines.append)
    assert not lines


def write_manifest(file: Path, rows: list[tuple[str, str, str]]) -> None:
    file.write_text("path,label,group\n" + "".join(f"{','.join(row)}\n" for row in rows))
    for name, _, _ in rows:
        (file.parent / name).write_bytes(b"never decoded here")


def two_sets(root: Path, **further: object) -> VideoSet:
    write_manifest(root / "main.csv", [("0.mp4", "fight|crowd", "a"), ("1.mp4", "calm", "b")])
    write_manifest(
        root / "other.csv",
        [("2.mp4", "punch", "c"), ("3.mp4", "hug", "d"), ("4.mp4", "sport", "e"), ("5.mp4", "hug", "d")],
    )
    config = {
        "name": "tiny",
        "version": "0.0.1",
        "role": "filter",
        "data": {"root": root, "manifest": "main.csv", "also": [{"manifest": "other.csv", **further}]},
        "labels": [
            {"name": "violence", "positives": ["fight"]},
            {"name": "crowd", "positives": ["crowd"]},
        ],
        "video": {"frames": 4, "frame_rate_hz": 8, "height": 32, "width": 32},
        "architecture": {"name": "r2plus1d"},
    }
    return VideoSet.read(TrainConfig.model_validate(config), ClipCache(root / "cache"))


def test_sets_are_joined_with_their_own_labels_and_weight(tmp_path: Path) -> None:
    videos = two_sets(
        tmp_path,
        weight=0.3,
        positives={"violence": ["punch"]},
        unknown=["crowd"],
        leave_out=["sport"],
    )
    assert [example.label for example in videos.examples] == ["fight|crowd", "calm", "punch", "hug", "hug"]
    assert videos.sets.tolist() == [0, 0, 1, 1, 1]
    assert videos.weights == pytest.approx([1, 1, 0.2, 0.2, 0.2])
    assert videos.targets[:, 0].tolist() == [1, 0, 1, 0, 0]
    assert videos.targets[:2, 1].tolist() == [1, 0]
    assert np.isnan(videos.targets[2:, 1]).all()


def test_weights_of_examples_share_out_the_weight_of_their_set(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"never decoded here")
    (tmp_path / "main.csv").write_text("path,label,group,weight\na.mp4,x,g,2\nb.mp4,y,h,1\n")
    (tmp_path / "other.csv").write_text(
        "path,label,group,start_s,end_s,weight\na.mp4,y,g,0,1,1\na.mp4,y,g,1,2,3\n"
    )
    config = {
        "name": "tiny",
        "version": "0",
        "role": "filter",
        "data": {
            "root": tmp_path,
            "manifest": "main.csv",
            "also": [{"manifest": "other.csv", "weight": 0.4}],
        },
        "labels": [{"name": "x", "positives": ["x"]}],
        "video": VIDEO,
        "architecture": {"name": "r2plus1d"},
    }
    videos = VideoSet.read(TrainConfig.model_validate(config), ClipCache(tmp_path / "cache"))
    assert videos.weights == pytest.approx([2, 1, 0.3, 0.9])


@pytest.mark.parametrize("positives", [["fight"], ["calm", "fight"]])
def test_a_label_that_every_example_has_is_refused_at_once(positives: list[str], tmp_path: Path) -> None:
    """Nobody could say how often it would be seen where it is not."""
    rows = [("0.mp4", "fight", "a"), ("1.mp4", "calm" if len(positives) > 1 else "fight|calm", "b")]
    write_manifest(tmp_path / "main.csv", rows)
    config = {
        "name": "tiny",
        "version": "0",
        "role": "filter",
        "data": {"root": tmp_path, "manifest": "main.csv"},
        "labels": [{"name": "violence", "positives": positives}],
        "video": VIDEO,
        "architecture": {"name": "r2plus1d"},
    }
    with pytest.raises(ValueError, match=r"label violence: every example of main\.csv has it"):
        VideoSet.read(TrainConfig.model_validate(config), ClipCache(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"leave_out": ["hugs"]}, r"other.csv: no example is labelled hugs"),
        ({"positives": {"violence": ["kick"]}}, r"other.csv: no example is labelled kick"),
        ({"positives": {"fights": ["punch"]}}, r"other.csv: no such label: fights"),
        ({"leave_out": ["punch", "hug", "sport"]}, r"other.csv: leave_out leaves no example"),
    ],
)
def test_a_further_set_that_does_not_fit_is_named(
    further: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        two_sets(tmp_path, **further)
