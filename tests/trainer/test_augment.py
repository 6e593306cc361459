"""Changes of clips: alike in every frame, inside of their ranges, the same for the same seed."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.spec import AudioInput, VideoInput
from trainer.config import Augment
from trainer.data.augment import Sample, training_sample
from trainer.data.colour import COLOURS, SHAPES, changed, drawn_changes, erased
from trainer.data.hearing import louder_samples, masked, noisy, noisy_samples
from trainer.data.mixing import mixed
from trainer.data.rolls import Roll, Wanted

VIDEO = VideoInput(frames=4, frame_rate_hz=5, height=24, width=32)
AUDIO = AudioInput(frames=80)
EVERYTHING = Augment(
    changes=3, strength=0.7, erase=1.0, sound_noise=0.1, sound_masks=2, starts="dense", grey=0.0
)


def still_roll() -> Roll:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    sound = np.random.default_rng(1).uniform(-1, 1, (300, AUDIO.mels)).astype(np.float32)
    frames = np.broadcast_to(picture, (20, *picture.shape))
    return Roll(frames, 10.0, sound, np.linspace(-1, 1, 3 * 16_000, dtype=np.float32))


def sample(augment: Augment, seed: int) -> Sample:
    return training_sample(still_roll(), Wanted(VIDEO, AUDIO), augment, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(8))
def test_a_still_clip_stays_still(seed: int) -> None:
    clip = sample(EVERYTHING, seed).clip
    assert (clip == clip[:1]).all()
    assert clip.min() >= 0
    assert clip.max() <= 255
    assert clip.std() > 1


def test_the_same_seed_gives_the_same() -> None:
    first, second, other = (sample(EVERYTHING, seed) for seed in (3, 3, 4))
    assert first.clip.equal(second.clip)
    assert first.log_mel is not None
    assert second.log_mel is not None
    assert first.log_mel.equal(second.log_mel)
    assert not first.clip.equal(other.clip)


def test_what_is_switched_on_leaves_the_rest_as_it_was() -> None:
    plain, noise = sample(Augment(), 5), sample(Augment(sound_noise=0.2, sound_masks=3), 5)
    assert plain.clip.equal(noise.clip)
    assert plain.log_mel is not None
    assert noise.log_mel is not None
    assert not plain.log_mel.equal(noise.log_mel)


@pytest.mark.parametrize("strength", [-1.0, -0.3, 0.3, 1.0])
@pytest.mark.parametrize("name", [*SHAPES, *COLOURS])
def test_each_change_keeps_the_shape_and_treats_frames_alike(name: str, strength: float) -> None:
    clip = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (1, 16, 20, 3)).astype(np.float32))
    clip = clip.expand(3, -1, -1, -1)
    after = changed(clip, [(name, strength)], {**SHAPES, **COLOURS})
    assert after.shape == clip.shape
    assert after.isfinite().all()
    assert torch.allclose(after, after[:1].expand_as(after), atol=1e-4)
    assert after.equal(clip) == (name == "none")


@pytest.mark.parametrize("name", [*SHAPES])
def test_shapes_of_no_strength_change_nothing(name: str) -> None:
    clip = torch.rand(2, 12, 18, 3) * 255
    assert torch.allclose(SHAPES[name](clip, 0.0), clip, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "strength", "before", "after"),
    [
        ("posterise", 1.0, [0, 15, 16, 255], [0, 0, 16, 240]),
        ("solarise", 0.5, [0, 127, 128, 255], [0, 127, 127, 0]),
        ("full_range", 0.3, [100, 150, 125, 200], [0, 127.5, 63.75, 255]),
        ("brightness", 1.0, [0, 10, 100, 50], [0, 19, 190, 95]),
        ("contrast", -1.0, [0, 100, 100, 200], [90, 100, 100, 110]),
    ],
)
def test_what_changes_of_colour_do(
    name: str, strength: float, before: list[float], after: list[float]
) -> None:
    clip = torch.tensor(before, dtype=torch.float32).reshape(1, 2, 2, 1).expand(-1, -1, -1, 3)
    assert COLOURS[name](clip, strength)[..., 0].flatten().tolist() == pytest.approx(after)


def test_shapes_move_things_in_one_direction() -> None:
    clip = torch.zeros(1, 9, 9, 3)
    clip[:, 4, 4] = 255
    row, column = np.argwhere(SHAPES["move_x"](clip, 2 * 2 / 9 / 0.9)[0, ..., 0].numpy() > 200)[0]
    assert (row, column) == (4, 2)


def test_changes_are_drawn_with_the_strength_that_is_set() -> None:
    drawn = drawn_changes(Augment(changes=200, strength=0.4), np.random.default_rng(0))
    assert {name for name, _ in drawn} == {*SHAPES, *COLOURS}
    assert {strength for _, strength in drawn} == {0.4, -0.4}
    assert drawn_changes(Augment(), np.random.default_rng(0)) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_erased_box_is_the_same_in_every_frame(seed: int) -> None:
    clip = torch.full((3, 40, 60, 3), 300.0)  # noise never gets there
    after = erased(clip, np.random.default_rng(seed))
    hidden = (after != 300).any(-1)
    assert (hidden == hidden[:1]).all()
    assert 0.01 < hidden[0].float().mean() < 0.36
    rows, columns = hidden[0].any(1).sum(), hidden[0].any(0).sum()
    assert hidden[0].sum() == rows * columns
    assert (clip == 300).all()


def test_masks_silence_whole_stretches_and_bands() -> None:
    sound: npt.NDArray[np.float32] = np.full((100, 50), 0.5, np.float32)
    after = masked(sound, 2, np.random.default_rng(1))
    silent = after == -1
    stretches, bands = silent.all(1), silent.all(0)
    assert 0 < stretches.sum() <= 40
    assert 0 < bands.sum() <= 20
    assert (silent == (stretches[:, None] | bands)).all()
    assert (sound == 0.5).all()
    assert np.array_equal(masked(sound, 0, np.random.default_rng(1)), sound)


def test_noise_fills_silence_to_its_level() -> None:
    """An amplitude of 0.1 is -20 dB, 0.6 on the scale of the spectrogram."""
    silence = np.full((400, 64), -1.0, np.float32)
    power_db = 10 * np.log10(np.mean(10 ** ((noisy(silence, 0.1, np.random.default_rng(0)) - 1) * 5)))
    assert power_db == pytest.approx(-20, abs=0.2)
    loud = np.full((4, 64), 0.9, np.float32)
    np.testing.assert_allclose(noisy(loud, 0.001, np.random.default_rng(0)), loud, atol=0.001)
    samples = noisy_samples(np.zeros(20_000, np.float32), 0.1, np.random.default_rng(0))
    assert samples.std() == pytest.approx(0.1, rel=0.05)


def test_gain_means_the_same_to_samples() -> None:
    """0.4 units are 20 dB, a factor of ten; full scale is the end."""
    found = louder_samples(np.array([0.01, -0.05, 0.5], np.float32), 0.4)
    assert found.tolist() == pytest.approx([0.1, -0.5, 1.0])


def batch(count: int = 6) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Clip i is i everywhere, and so is its target; it is silent if i is odd."""
    number = torch.arange(count, dtype=torch.float32)
    inputs = {
        "clips": number.reshape(-1, 1, 1, 1, 1).expand(-1, 3, 20, 30, 3).clone(),
        "flow": number.reshape(-1, 1, 1, 1, 1).expand(-1, 2, 20, 30, 2).to(torch.uint8),
        "log_mel": number.reshape(-1, 1, 1).expand(-1, 8, 4).clone(),
        "has_audio": (number % 2 == 0).float(),
    }
    return inputs, number[:, None].clone()


def test_nothing_is_mixed_unless_it_is_set() -> None:
    inputs, targets = batch()
    found = mixed(inputs, targets, Augment(), np.random.default_rng(0))
    assert found[0] is inputs
    assert found[1] is targets


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("way", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 0.8}])
def test_targets_are_mixed_as_the_clips_are(way: dict[str, float], seed: int) -> None:
    inputs, targets = batch()
    found, mixture = mixed(inputs, targets, Augment(**way), np.random.default_rng(seed))
    torch.testing.assert_close(found["clips"].mean((1, 2, 3, 4)), mixture[:, 0])
    torch.testing.assert_close(found["log_mel"].mean((1, 2)), mixture[:, 0])
    assert torch.allclose(found["flow"].float().mean((1, 2, 3, 4)), mixture[:, 0], atol=0.51)
    assert found["flow"].dtype == torch.uint8
    assert (found["clips"] == found["clips"][:, :1]).all()  # alike in every frame
    assert (found["has_audio"] >= inputs["has_audio"]).all()
    torch.testing.assert_close(mixture.sum(), targets.sum())


def test_of_a_mixture_with_something_unknown_nothing_is_known() -> None:
    inputs, targets = batch(8)
    targets[:2] = torch.nan
    _, mixture = mixed(inputs, targets, Augment(mixup=1.0), np.random.default_rng(1))
    assert mixture[:2].isnan().all()
    assert 2 <= int(mixture.isnan().sum()) <= 4


@pytest.mark.parametrize(
    ("starts", "expected"),
    [("dense", {0, 8, 16, 24}), ("uniform", {0, 12, 24}), ("random", set(range(25)))],
)
def test_where_training_clips_start(starts: Any, expected: set[int]) -> None:
    """Of a roll of 32 frames, 8 of which a clip takes; frame i is grey i."""
    grey = np.arange(32, dtype=np.uint8)[:, None, None, None]
    roll = Roll(np.broadcast_to(grey, (32, 24, 32, 3)), 10.0, None)
    augment = Augment(starts=starts, speed=(1, 1), light=0)
    found = {
        round(
            float(
                training_sample(roll, Wanted(VIDEO, None), augment, np.random.default_rng(i)).clip[0].mean()
            )
        )
        for i in range(200)
    }
    assert found == expected
