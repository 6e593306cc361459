"""Export proves parity and quantisation proves agreement, or there is no artifact."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.architectures import registry
from models.spec import VideoInput
from trainer.calibrate import Calibration
from trainer.config import Gate
from trainer.data.dataset import Batch
from trainer.export import GateClosed, check_parity, export_onnx, feed
from trainer.quantize import check_agreement, quantise

VIDEO = VideoInput(frames=4, frame_rate_hz=8, height=32, width=32)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return registry.build("r2plus1d", {"depth": 10, "width": 4}, VIDEO, 1)


def batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randint(0, 256, (4, *VIDEO.clip_shape), dtype=torch.uint8, generator=generator)
    # From dark to bright, so that the clips differ and so do their logits.
    scale = torch.linspace(0.1, 1.0, 4).view(-1, 1, 1, 1, 1)
    return Batch({"clips": (clips * scale).to(torch.uint8)}, torch.zeros(4, 1), np.zeros(4, np.int64))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "fp32.onnx"
    export_onnx(network(0), batch(0), path)
    return path


def test_parity_holds_for_the_network_itself(exported: Path) -> None:
    assert check_parity(network(0), exported, [batch(1)], 1e-3) <= 1e-3


def test_parity_refuses_another_network(exported: Path) -> None:
    with pytest.raises(GateClosed, match=r"fp32.onnx: logits differ from torch by .*, allowed is 1e-03"):
        check_parity(network(1), exported, [batch(1)], 1e-3)


def test_quantised_network_agrees_and_a_coarse_one_is_refused(exported: Path, tmp_path: Path) -> None:
    int8 = tmp_path / "int8.onnx"
    feeds = [feed(batch(seed)) for seed in range(4)]
    quantise(exported, int8, feeds)
    assert int8.stat().st_size < exported.stat().st_size
    lenient = Gate(int8_probability=0.1, int8_agreement=0.5)
    agreement = check_agreement(exported, int8, feeds, [Calibration()], lenient)
    assert agreement.clips == 16
    assert agreement.mean_probability_difference <= agreement.worst_probability_difference < 0.1
    with pytest.raises(GateClosed, match=r"int8.onnx: INT8 differs from FP32 by 0\.\d+ in the mean"):
        check_agreement(exported, int8, feeds, [Calibration()], Gate(int8_probability=1e-9))
