"""Counted costs against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.spec import AudioInput, VideoInput
from trainer.costs import Cost, attention_costs, cost_of, cost_of_family

AUDIO = AudioInput(frames=40)


def test_a_convolution_and_a_linear_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 6 * 5, 2))
    # Convolution: 6 x 5 places, 8 channels out, each 3 x 3 x 3 multiply-adds: 6,480. Linear: 240 x 2 = 480.
    expected = Cost(parameters=3 * 8 * 9 + 8 + 240 * 2 + 2, operations=2 * (6_480 + 480))
    assert cost_of(network, {"images": torch.zeros(1, 3, 6, 5)}) == expected


def test_groups_and_depth_in_time() -> None:
    network = nn.Conv3d(4, 4, (3, 1, 1), groups=4, padding=(1, 0, 0), bias=False)
    # 2 x 3 x 3 places, 4 channels, each of its own group: 3 multiply-adds.
    assert cost_of(network, {"clips": torch.zeros(1, 4, 2, 3, 3)}) == Cost(12, 2 * 18 * 4 * 3)


def test_an_lstm_is_counted() -> None:
    # Four gates of 5 units, each sees 3 + 5 values, 7 times.
    network = nn.LSTM(3, 5, batch_first=True, bias=False)
    assert cost_of(network, {"features": torch.zeros(1, 7, 3)}).operations == 2 * 7 * 4 * 5 * (3 + 5)


def test_two_networks_of_the_registry_by_hand() -> None:
    video = VideoInput(frames=4, frame_rate_hz=8, height=32, width=32)
    sizes = {"patch": 16, "tubelet": 2, "dimension": 8, "depth": 1, "heads": 2}
    found = cost_of_family("videomae", sizes, video, AUDIO, labels=3)
    # 2 x 2 x 2 patches of 2 x 16 x 16 x 3 values to 8; then for each of 8 tokens qkv 8 x 24, projection
    # 8 x 8, two layers of the MLP 8 x 32; attention: 8 x 8 pairs of 8 values, twice; one head of 8 x 3.
    multiply_adds = 8 * 1_536 * 8 + 8 * (192 + 64 + 2 * 256) + 2 * 64 * 8 + 24
    assert found.operations == 2 * multiply_adds

    wave = cost_of_family("audio_log_mel", {}, video, AUDIO, labels=3)
    one_more = cost_of_family("audio_log_mel", {}, video, AUDIO, labels=4)
    assert one_more.parameters > wave.parameters


@pytest.mark.parametrize("name", ["cnn_lstm", "two_stream", "audio_waveform"])
def test_the_meta_device_counts_what_the_real_one_does(name: str) -> None:
    from models.architectures import registry
    from trainer.costs import one_clip

    small = {"audio_waveform": {"filters": 8}}.get(name, {"depth": 10, "width": 8})
    video = VideoInput(frames=4, frame_rate_hz=8, height=32, width=32)
    real = cost_of(registry.build(name, small, video, 2), one_clip(name, video, AUDIO))
    assert cost_of_family(name, small, video, AUDIO, 2) == real


def test_attention_compares_what_the_formula_says() -> None:
    rows = attention_costs()["rows"]
    assert len(rows) == 12
    assert all(row["pairs_counted"] == row["pairs_by_formula"] for row in rows)
