"""What a network costs: its parameters, and the operations of one clip.

Counted are the products of convolutions, linear layers and attention (``torch.utils.flop_counter``), on the
meta device: shapes are computed and nothing else, so that large networks take seconds. A multiply-add counts
as **two** operations; many papers call the number of multiply-adds FLOPs, which is half of what stands here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.architectures import registry
from models.architectures.attention_groups import attention_pairs
from models.architectures.vit import Attention, PatchGrid
from models.spec import AudioInput, VideoInput

REFERENCE_VIDEO = VideoInput(frames=16, frame_rate_hz=8, height=224, width=224)
REFERENCE_AUDIO = AudioInput(frames=200)
REFERENCE_LABELS = 20

# Pairs of tokens for each head and block; F frames, S patches of a frame.
ATTENTIONS = {
    "space": "F (S + 1)^2",
    "joint": "(F S + 1)^2",
    "divided": "S F^2 + F (S + 1)^2",
    "sparse": "4 (F S / 4 + 1)^2 + 8 (F S / 8 + 1)^2",
}
ATTENTION_FRAMES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Cost:
    parameters: int
    operations: int  # of one clip; a multiply-add counts as two

    @property
    def giga_operations(self) -> float:
        return self.operations / 1e9


def cost_of(network: nn.Module, inputs: Mapping[str, Tensor]) -> Cost:
    """``inputs``: those of one clip, in the network's order. The network itself is left as it is."""
    counter = FlopCounterMode(display=False)
    weightless = copy.deepcopy(network).to("meta").eval()
    # An LSTM is one opaque step on the CPU, which is not counted; here it is made of products.
    with counter:
        weightless(*(value.to("meta") for value in inputs.values()))
    return Cost(sum(p.numel() for p in network.parameters()), counter.get_total_flops())


def cost_of_family(
    name: str, arguments: Mapping[str, Any], video: VideoInput, audio: AudioInput, labels: int
) -> Cost:
    """Of a network of the registry, without giving it memory."""
    with torch.device("meta"):
        network = registry.build(name, arguments, video, labels)
        return cost_of(network, one_clip(name, video, audio))


def one_clip(name: str, video: VideoInput, audio: AudioInput) -> dict[str, Tensor]:
    """Zeros of the shapes that a family takes for one clip."""
    every = {
        "clips": torch.zeros((1, *video.clip_shape), dtype=torch.uint8),
        "flow": torch.zeros((1, video.frames - 1, video.height, video.width, 2), dtype=torch.uint8),
        "log_mel": torch.zeros(1, audio.frames, audio.mels),
        "waveform": torch.zeros(1, round(audio.clip_s * audio.sample_rate_hz)),
        "has_audio": torch.ones(1),
    }
    return {key: every[key] for key in registry.FAMILIES[name].inputs}


def reference_costs() -> dict[str, Any]:
    """Every name of the registry with its default arguments, at the reference input."""
    networks = {}
    for name in sorted(registry.FAMILIES):
        cost = cost_of_family(name, {}, REFERENCE_VIDEO, REFERENCE_AUDIO, REFERENCE_LABELS)
        networks[name] = {
            "parameters": cost.parameters,
            "giga_operations": round(cost.giga_operations, 3),
            "giga_multiply_adds": round(cost.giga_operations / 2, 3),
        }
    return {
        "input": {
            "video": REFERENCE_VIDEO.model_dump(),
            "audio": REFERENCE_AUDIO.model_dump(),
            "labels": REFERENCE_LABELS,
        },
        "networks": networks,
    }


def compared_pairs(network: nn.Module, clip: Tensor) -> int:
    """Pairs of tokens that all attentions compare for one clip and head, by the tensors that they get."""
    lengths: list[int] = []
    hooks = [
        module.register_forward_pre_hook(
            lambda _, inputs: lengths.append(inputs[0].shape[0] * inputs[0].shape[1] ** 2)
        )
        for module in network.modules()
        if isinstance(module, Attention)
    ]
    try:
        network.eval()(clip)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(lengths)


def attention_costs() -> dict[str, Any]:
    """TimeSformer's attentions at the paper's size and with longer clips: formula beside count."""
    rows = [
        {"frames": frames, **_attention_cost(name, frames)}
        for name in ATTENTIONS
        for frames in ATTENTION_FRAMES
    ]
    return {"height": 224, "width": 224, "patch": 16, "dimension": 768, "blocks": 1, "rows": rows}


def _attention_cost(name: str, frames: int) -> dict[str, Any]:
    video = VideoInput(frames=frames, frame_rate_hz=8, height=224, width=224)
    with torch.device("meta"):
        network = registry.build("timesformer", {"attention": name, "depth": 1}, video, REFERENCE_LABELS)
        clip = torch.zeros((1, *video.clip_shape), dtype=torch.uint8)
        counted = compared_pairs(network, clip)
        whole = cost_of(network, {"clips": clip}).giga_operations
    return {
        "attention": name,
        "formula": ATTENTIONS[name],
        "pairs_by_formula": attention_pairs(name, PatchGrid.of(video, 16)),
        "pairs_counted": counted,
        "giga_operations_with_one_block": round(whole, 3),
    }
