"""SlowFast at the depth of a ResNet-18."""

from __future__ import annotations

from torch import nn

from models.architectures.slowfast import Basic, Pathways, ResStage, SlowFast, SlowFastConfig


def test_depth_18_has_two_blocks_of_two_convolutions_a_stage() -> None:
    network = SlowFast(SlowFastConfig(depth=18, width=8), labels=2)
    kernels: list[list[tuple[int, ...]]] = []
    for step in list(network.blocks)[1:5]:
        assert isinstance(step, Pathways)
        slow = step.multipathway_blocks[0]
        assert isinstance(slow, ResStage)
        branches = [part for part in slow.modules() if isinstance(part, Basic)]
        assert len(branches) == len(slow.res_blocks) == 2
        kernels.append([m.kernel_size for b in branches for m in b.modules() if isinstance(m, nn.Conv3d)])
    plain, looks_over_time = [(1, 3, 3)] * 4, [(3, 3, 3), (1, 3, 3)] * 2
    assert kernels == [plain, plain, looks_over_time, looks_over_time]
    assert network.features == 8 * 8 + 8  # slow: 8 times the stem; fast: an eighth of that
