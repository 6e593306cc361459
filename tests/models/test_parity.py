"""The published libraries' networks and ours give the same logits for the same weights.

The weights are random and made here; what is proven is that published ones will do.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from models.architectures.r2plus1d import R2Plus1D
from models.architectures.resnet import ResNet
from models.architectures.slowfast import SLOWFAST_R50, SlowFast
from models.architectures.timesformer import TimeSformer, build_timesformer, from_transformers
from models.spec import VideoInput
from tests.models import foreign

CLASSES = 13


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_resnet_of_torchvision(depth: int) -> None:
    theirs = getattr(foreign.torchvision(), f"resnet{depth}")(num_classes=CLASSES).eval()
    foreign.unsettle(theirs)
    ours = ResNet(depth, CLASSES).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 96, 80)
    foreign.assert_same_logits(ours(images), theirs(images))


def test_r2plus1d_18_of_torchvision() -> None:
    theirs = foreign.torchvision("torchvision.models.video").r2plus1d_18(num_classes=CLASSES).eval()
    foreign.unsettle(theirs)
    ours = R2Plus1D(18, 64, CLASSES).eval()
    ours.load_state_dict(theirs.state_dict())
    clips = foreign.clips(2, 8, 48)
    foreign.assert_same_logits(ours(clips), theirs(ours.normalise(clips)))


def test_slowfast_r50_of_pytorchvideo() -> None:
    library = foreign.pytorchvideo("pytorchvideo.models.slowfast")
    # Its pooling is told the size of the last maps: here 8 frames of 64 pixels instead of 32 of 224.
    theirs = library.create_slowfast(
        model_num_class=CLASSES, head_pool_kernel_sizes=((2, 2, 2), (8, 2, 2))
    ).eval()
    foreign.unsettle(theirs)
    ours = SlowFast(SLOWFAST_R50, CLASSES).eval()
    ours.load_state_dict(theirs.state_dict())
    clips = foreign.clips(2, 8, 64)
    fast = ours.normalise(clips)
    foreign.assert_same_logits(ours(clips), theirs([fast[:, :, :: SLOWFAST_R50.alpha], fast]))


@pytest.mark.parametrize(
    ("attention", "named"),
    [("divided", "divided_space_time"), ("joint", "joint_space_time"), ("space", "space_only")],
)
def test_timesformer_of_transformers(attention: str, named: str) -> None:
    library = foreign.transformers()
    foreign.torchvision()  # transformers imports it where it is installed
    shape = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 384}
    config = library.TimesformerConfig(
        image_size=64, num_frames=4, attention_type=named, num_labels=CLASSES, **shape
    )
    theirs = library.TimesformerForVideoClassification(config).eval()
    foreign.unsettle(theirs)
    for parameter in theirs.parameters():  # times start at zero and matrices small
        parameter.add_(0.05 * torch.randn_like(parameter))
    ours = _timesformer(attention)
    ours.load_state_dict(from_transformers(theirs.state_dict()))
    clips = foreign.clips(2, 4, 64)
    pixels = ours.normalise(clips).transpose(1, 2)  # (N, 3, T, H, W) to (N, T, 3, H, W)
    logits = theirs(pixels).logits
    if attention == "space":
        logits = logits.view(2, 4, CLASSES).mean(1)  # it answers for each frame
    foreign.assert_same_logits(ours(clips), logits)


def _timesformer(attention: str) -> TimeSformer:
    video = VideoInput(frames=4, frame_rate_hz=8, height=64, width=64)
    return build_timesformer(video, CLASSES, attention, dimension=96, depth=3, heads=4).eval()
