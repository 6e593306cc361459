"""Networks that listen, and networks that stop early."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from models.architectures.audiovisual_fusion import build_frames_resnet_av
from models.architectures.early_exit import Answer, EarlyExit, build_early_exit, certainty, chosen
from models.architectures.sound import MfccFront, WaveformFront, cosine_transform
from models.spec import VideoInput
from tests.models import foreign

VIDEO = VideoInput(frames=4, frame_rate_hz=8, height=32, width=32)


def test_cosine_transform_follows_its_formula_and_is_orthonormal() -> None:
    matrix = cosine_transform(8, 8)
    torch.testing.assert_close(matrix.T @ matrix, torch.eye(8))
    k, m = 3, 5
    assert matrix[m, k].item() == pytest.approx(math.sqrt(2 / 8) * math.cos(math.pi * k * (m + 0.5) / 8))


def test_a_flat_spectrum_has_one_coefficient() -> None:
    front = MfccFront(mels=16, coefficients=4).eval()
    cepstrum = front(torch.full((1, 2, 16), 0.5))
    torch.testing.assert_close(cepstrum[0, 0], torch.tensor([2.0, 0.0, 0.0, 0.0]), atol=1e-4, rtol=0)


def test_more_coefficients_than_mels_are_refused() -> None:
    with pytest.raises(ValueError, match="20 coefficients cannot come from 16 mels"):
        MfccFront(16, 20)


def test_a_waveform_becomes_a_picture_at_the_hop() -> None:
    picture = WaveformFront(filters=8, window=400, hop=160).eval()(torch.zeros(2, 16_000))
    assert picture.shape == (2, 101, 8)


@pytest.mark.parametrize("fusion", ["late", "weighted"])
def test_a_silent_video_gets_the_visual_heads_answer(fusion: str) -> None:
    network = build_frames_resnet_av(VIDEO, 2, fusion, depth=10, width=8).eval()
    clips, sound = foreign.clips(2, 4, 32), torch.rand(2, 40, 64)
    with torch.inference_mode():
        expected = network.fusion.first(network.visual(clips))  # type: ignore[operator]
        torch.testing.assert_close(network(clips, sound, torch.zeros(2)), expected)


def test_sound_is_taken_away_at_random_while_training_only() -> None:
    network = build_frames_resnet_av(VIDEO, 2, depth=10, width=8, sound_dropout=0.25)
    torch.manual_seed(0)
    heard = network.train()._kept(torch.ones(4000)).mean().item()
    assert heard == pytest.approx(0.75, abs=0.03)
    assert network._kept(torch.zeros(10)).sum() == 0
    assert torch.equal(network.eval()._kept(torch.ones(10)), torch.ones(10))


# Logits of three exits and one label; 2.2 is 90 % sure.
LOGITS = np.array([[[3.0], [9.0], [-9.0]], [[1.0], [-2.5], [9.0]], [[0.1], [0.2], [0.3]]], np.float32)


@pytest.mark.parametrize(
    ("confidence", "exits", "logits", "rates"),
    [
        (0.5, [0, 0, 0], [3.0, 1.0, 0.1], (1.0, 0.0, 0.0)),
        (0.9, [0, 1, 2], [3.0, -2.5, 0.3], (1 / 3, 1 / 3, 1 / 3)),
        (0.99, [1, 2, 2], [9.0, 9.0, 0.3], (0.0, 1 / 3, 2 / 3)),
        (1.0, [2, 2, 2], [-9.0, 9.0, 0.3], (0.0, 0.0, 1.0)),
    ],
)
def test_the_first_exit_that_is_sure_answers(
    confidence: float, exits: list[int], logits: list[float], rates: tuple[float, ...]
) -> None:
    answer = chosen(LOGITS, confidence)
    assert answer.exits.tolist() == exits
    assert answer.logits[:, 0].tolist() == pytest.approx(logits)
    assert answer.rates(3) == pytest.approx(rates)


def test_an_exit_is_as_sure_as_its_least_certain_label() -> None:
    assert certainty(np.array([[4.0, -0.0], [4.0, -3.0]], np.float32)).tolist() == pytest.approx(
        [0.5, 0.9526], abs=1e-4
    )


def test_no_clips_have_no_rates() -> None:
    assert Answer(np.empty((0, 1), np.float32), np.empty(0, np.int64)).rates(2) == (0.0, 0.0)


def network() -> EarlyExit:
    torch.manual_seed(0)
    made = build_early_exit(VIDEO, 2, depth=10, width=8, exits=(0, 2)).eval()
    foreign.unsettle(made)
    return made


@pytest.mark.parametrize("confidence", [0.0, 0.52, 0.55, 0.6, 1.0])
def test_stopping_early_says_the_same_as_going_on(confidence: float) -> None:
    made, clips = network(), foreign.clips(6, 4, 32)
    with torch.inference_mode():
        expected = chosen(made(clips).numpy(), confidence)
    answer = made.answer(clips, confidence)
    assert answer.exits.tolist() == expected.exits.tolist()
    np.testing.assert_allclose(answer.logits, expected.logits, atol=1e-5)


def test_stages_behind_the_exit_are_not_computed() -> None:
    made = network()
    reached: list[int] = []
    for index, stage in enumerate(made.trunk.stages):
        stage.register_forward_hook(lambda *_, index=index: reached.append(index))
    made.answer(foreign.clips(2, 4, 32), confidence=0.0)
    assert reached == [0]


def test_exits_must_be_stages() -> None:
    with pytest.raises(ValueError, match=r"exits \(1, 4\) must be stages, 0 to 3"):
        build_early_exit(VIDEO, 1, depth=10, width=8, exits=(1, 4))
