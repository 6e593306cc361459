"""What every network of the registry holds to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.architectures import registry
from models.spec import VideoInput
from trainer.data.dataset import Batch
from trainer.export import check_parity, export_onnx, session

CHECKOUT = Path(__file__).resolve().parents[2]
AUDIO_FRAMES, MELS, SAMPLES, LABELS = 40, 64, 3_200, 2


@dataclass(frozen=True)
class Case:
    arguments: dict[str, Any]
    frames: int
    size: int


TRANSFORMER = {"patch": 16, "dimension": 32, "depth": 2, "heads": 2}

SMALL = {
    "frames_resnet": Case({"depth": 10, "width": 8, "pooling": "attention"}, 4, 32),
    "frames_lite": Case({"size": 1, "pooling": "difference"}, 3, 64),
    "cnn_lstm": Case({"depth": 10, "width": 8, "hidden": 8}, 4, 32),
    "c3d": Case({"width": 4, "hidden": 16}, 8, 48),
    "c3d_global": Case({"width": 4}, 8, 32),
    "i3d": Case({"depth": 50, "width": 8}, 8, 32),
    "i3d_lite": Case({}, 3, 64),
    "two_stream": Case({"fusion": "weighted", "depth": 10, "width": 8}, 4, 32),
    "timesformer": Case({"attention": "divided", **TRANSFORMER}, 4, 32),
    "vivit": Case({"tubelet": 2, "time_depth": 1, **TRANSFORMER}, 4, 32),
    "videomae": Case({"tubelet": 2, **TRANSFORMER}, 4, 32),
    "early_exit": Case({"depth": 10, "width": 8, "exits": (0, 2)}, 8, 32),
    "audio_log_mel": Case({}, 2, 32),
    "audio_mfcc": Case({"mels": 64, "coefficients": 20}, 2, 32),
    "audio_waveform": Case({"filters": 8}, 2, 32),
    "frames_resnet_av": Case({"fusion": "early", "depth": 10, "width": 8}, 4, 32),
    "frames_lite_av": Case({"fusion": "weighted"}, 3, 64),
    "r2plus1d": Case({"depth": 10, "width": 8}, 8, 32),
    "r2plus1d_lite": Case({"views": [0.5, 0.35], "size": 32}, 4, 64),
    "slowfast": Case({"depth": 18, "width": 8}, 8, 64),
    "slowfast_av": Case({"depth": 18, "width": 8}, 8, 64),
    "slowfast_lite_av": Case({"alpha": 2, "views": [1.0, 0.5], "stages": [2, 3]}, 4, 64),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=sorted(registry.FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build(family: str, seed: int = 0) -> nn.Module:
    case = SMALL[family]
    torch.manual_seed(seed)
    video = VideoInput(frames=case.frames, frame_rate_hz=8, height=case.size, width=case.size)
    return registry.build(family, case.arguments, video, LABELS)


def batch(family: str, count: int = 2) -> Batch:
    case, made = SMALL[family], registry.FAMILIES[family]
    generator = torch.Generator().manual_seed(1)

    def pixels(frames: int, channels: int) -> Tensor:
        shape = (count, frames, case.size, case.size, channels)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    every = {
        "clips": pixels(case.frames, 3),
        "flow": pixels(case.frames - 1, 2),
        "log_mel": torch.rand((count, AUDIO_FRAMES, MELS), generator=generator),
        "waveform": torch.rand((count, SAMPLES), generator=generator),
        "has_audio": torch.ones(count),
    }
    inputs = {name: every[name] for name in made.inputs}
    return Batch(inputs, torch.zeros(count, LABELS), np.zeros(count, np.int64))


def test_every_family_has_a_case() -> None:
    assert set(SMALL) == set(registry.FAMILIES)


def test_logits_are_finite_and_depend_on_the_clip_alone(family: str) -> None:
    network, inputs = build(family).eval(), batch(family).inputs.values()
    with torch.inference_mode():
        together = network(*inputs)
        alone = network(*(tensor[:1] for tensor in inputs))
    assert together.shape == ((2, 3, LABELS) if registry.FAMILIES[family].exits else (2, LABELS))
    assert torch.isfinite(together).all()
    torch.testing.assert_close(together[:1], alone, atol=1e-4, rtol=1e-4)
    assert not torch.equal(together[0], together[1])


def test_gradients_reach_every_parameter(family: str) -> None:
    network = build(family).train()
    if registry.FAMILIES[family].hears:
        network.sound_dropout = 0.0  # type: ignore[assignment]  # else sound may be absent by chance
    loss: Tensor = network(*batch(family).inputs.values()).square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    without = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert without == []


def test_the_same_seed_gives_the_same_network(family: str) -> None:
    inputs = batch(family).inputs.values()
    with torch.inference_mode():
        first, second, other = (build(family, seed).eval()(*inputs) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.slow
def test_export_agrees_and_takes_any_number_of_clips(family: str, tmp_path: Path) -> None:
    network, path = build(family), tmp_path / "network.onnx"
    export_onnx(network, batch(family), path)
    assert str(CHECKOUT).encode() not in path.read_bytes()  # the exporter would note our folders
    batches = [batch(family, count) for count in (1, 2, 3)]
    assert check_parity(network, path, batches, tolerance=1e-3) <= 1e-3
    clips = session(path).get_inputs()[0]
    assert (clips.name, clips.type) == ("clips", "tensor(uint8)")
    assert isinstance(clips.shape[0], str)  # a free dimension has a name


@pytest.mark.parametrize("family", [name for name, made in registry.FAMILIES.items() if made.hears])
def test_sound_that_is_not_there_changes_nothing(family: str) -> None:
    network = build(family).eval()
    clips, sound, has_audio = batch(family).inputs.values()
    with torch.inference_mode():
        absent = network(clips, sound, torch.zeros_like(has_audio))
        other_absent = network(clips, -sound, torch.zeros_like(has_audio))
        present = network(clips, sound, has_audio)
    assert torch.equal(absent, other_absent)
    assert not torch.equal(absent, present)


@pytest.mark.parametrize("family", ["r2plus1d_lite", "slowfast_lite_av"])
def test_networks_on_lite_blocks_start_from_a_whole_checkpoint(family: str) -> None:
    from models.architectures.efficientnet_lite import EfficientNetLite0

    checkpoint = EfficientNetLite0().state_dict()
    trunk = build(family).pretrained
    trunk.load_imagenet(checkpoint)  # type: ignore[operator, union-attr]
    assert all(torch.equal(value, checkpoint[name]) for name, value in trunk.state_dict().items())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("r3d", {}, "unknown architecture 'r3d', known: audio_log_mel, .*, r2plus1d, "),
        ("r2plus1d", {"breadth": 3}, r"architecture r2plus1d\(breadth=3\): .*breadth"),
        ("slowfast", {"alpha": 3}, "frames 8 must be a multiple of alpha 3"),
        ("slowfast", {"width": 12}, "width 12 must be a multiple of beta 8"),
        ("slowfast", {"depth": 34}, "depth must be one of"),
    ],
)
def test_what_does_not_fit_is_named(name: str, arguments: dict[str, Any], message: str) -> None:
    video = VideoInput(frames=8, frame_rate_hz=8, height=32, width=32)
    with pytest.raises(ValueError, match=message):
        registry.build(name, arguments, video, 1)


def test_description() -> None:
    assert registry.describe("r2plus1d", {"depth": 10, "width": 24}) == "r2plus1d(depth=10, width=24)"
