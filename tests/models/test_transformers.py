"""Video transformers: who attends to whom and at what cost, masks, reconstruction."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.architectures.attention_groups import Grouping, attention_pairs, scheme
from models.architectures.timesformer import build_timesformer
from models.architectures.videomae import (
    Cut,
    VideoMae,
    build_videomae,
    build_videomae_pretraining,
    hidden_positions,
    tube_mask,
    waves,
)
from models.architectures.vit import Attention, PatchGrid, TransformerSize
from models.architectures.vivit import build_vivit
from models.spec import VideoInput
from tests.models import foreign

VIDEO = VideoInput(frames=8, frame_rate_hz=8, height=64, width=96)
TINY = {"dimension": 32, "depth": 2, "heads": 2}
ATTENTIONS = ["space", "joint", "divided", "sparse"]


@pytest.mark.parametrize(
    ("attention", "base", "formula"),
    [
        # F frames, S positions of a frame. "base": 8 frames of 224 pixels in patches of 16, F = 8, S = 196.
        ("space", 310_472, lambda f, s: f * (s + 1) ** 2),
        ("joint", 2_461_761, lambda f, s: (f * s + 1) ** 2),
        ("divided", 323_016, lambda f, s: s * f**2 + f * (s + 1) ** 2),
        ("sparse", 928_268, lambda f, s: 4 * (f * s // 4 + 1) ** 2 + 8 * (f * s // 8 + 1) ** 2),
    ],
)
def test_cost_of_attention(attention: str, base: int, formula: Callable[[int, int], int]) -> None:
    assert attention_pairs(attention, PatchGrid(8, 14, 14)) == base == formula(8, 196)
    for grid in (PatchGrid(2, 4, 6), PatchGrid(16, 14, 14), PatchGrid(96, 14, 14)):
        assert attention_pairs(attention, grid) == formula(grid.frames, grid.positions)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_cost_is_what_the_network_computes(attention: str) -> None:
    network = build_timesformer(VIDEO, 2, attention, **TINY).eval()
    compared: list[int] = []

    def count(_: Attention, inputs: tuple[Tensor]) -> None:
        groups, length, _dimension = inputs[0].shape
        compared.append(groups * length**2)

    for module in network.modules():
        if isinstance(module, Attention):
            module.register_forward_pre_hook(count)
    clips = 3
    with torch.inference_mode():
        network(foreign.clips(clips, 8, 96)[:, :, :64])
    assert sum(compared) == clips * TINY["depth"] * attention_pairs(attention, PatchGrid(8, 4, 6))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_merging_undoes_splitting(attention: str) -> None:
    grid = PatchGrid(4, 2, 6)
    patches = torch.randn(3, 4, 2, 6, 5)
    for step in scheme(attention, grid):
        groups = step.grouping.split(patches, grid)
        assert groups.shape == (3 * step.grouping.groups, step.grouping.members(grid), 5)
        assert torch.equal(step.grouping.merge(groups, grid), patches)


@pytest.mark.parametrize(
    ("grouping", "first_group"),
    [
        # Patches of 2 frames, 2 rows and 4 columns, numbered in that order.
        (Grouping(1, 1, 1), list(range(16))),
        (Grouping(2, 1, 1), [0, 1, 2, 3, 4, 5, 6, 7]),
        (Grouping(1, 2, 4), [0, 8]),
        (Grouping(1, 2, 2), [0, 1, 8, 9]),
        (Grouping(1, 2, 2, strided=True), [0, 2, 8, 10]),
        (Grouping(2, 2, 2, strided=True), [0, 2]),
    ],
)
def test_members_of_a_group(grouping: Grouping, first_group: list[int]) -> None:
    grid = PatchGrid(2, 2, 4)
    numbers = torch.arange(16.0).view(1, 2, 2, 4, 1)
    groups = grouping.split(numbers, grid).squeeze(2)
    assert groups[0].tolist() == first_group
    assert sorted(groups.flatten().tolist()) == list(range(16))


def test_local_then_global_lets_every_patch_reach_every_other() -> None:
    grid = PatchGrid(4, 4, 4)
    reached = torch.eye(64).view(64, 4, 4, 4, 1)  # one clip for each patch that speaks
    for step in scheme("sparse", grid):
        groups = step.grouping.split(reached, grid)
        heard = groups.amax(1, keepdim=True).expand_as(groups)
        reached = step.grouping.merge(heard, grid)
    assert reached.min() == 1.0


def test_what_does_not_divide_is_named() -> None:
    with pytest.raises(ValueError, match="unknown attention 'axial', known: space, joint, divided, sparse"):
        attention_pairs("axial", PatchGrid(8, 14, 14))
    with pytest.raises(ValueError, match=r"PatchGrid\(frames=3.*does not divide into"):
        attention_pairs("sparse", PatchGrid(3, 14, 14))
    with pytest.raises(ValueError, match="height 64 must be a multiple of 24"):
        PatchGrid.of(VIDEO, 24)
    with pytest.raises(ValueError, match="frames 8 must be a multiple of 3"):
        PatchGrid.of(VIDEO, 16, 3)
    with pytest.raises(ValueError, match="dimension 32 must be a multiple of heads 3"):
        TransformerSize(dimension=32, heads=3)


def test_vivit_sees_moments_before_their_order() -> None:
    torch.manual_seed(0)
    network = build_vivit(VIDEO, 2, time_depth=1, **TINY).eval()
    for parameter in network.parameters():  # fresh ones are too small to tell moments apart
        parameter.data += 0.2 * torch.randn_like(parameter)
    clips = foreign.clips(1, 8, 96)[:, :, :64]
    swapped = clips[:, [4, 5, 2, 3, 0, 1, 6, 7]]  # whole tubelets change places
    lengths: list[tuple[int, int]] = []
    for module in network.modules():
        if isinstance(module, Attention):
            module.register_forward_pre_hook(lambda _, inputs: lengths.append(tuple(inputs[0].shape[:2])))
    with torch.inference_mode():
        assert not torch.allclose(network(clips), network(swapped), atol=1e-5)
    assert lengths[:3] == [(4, 25), (4, 25), (1, 5)]  # 4 moments of 24 patches, then 4 moments; 1 class token


@pytest.mark.parametrize("share", [0.9, 0.75, 0.5])
def test_a_tube_hides_the_same_places_in_every_frame(share: float) -> None:
    grid = PatchGrid(8, 14, 14)
    mask = tube_mask(grid, 3, share, torch.Generator().manual_seed(0)).view(3, 8, 196)
    assert (mask == mask[:, :1]).all()
    assert mask[:, 0].sum(1).tolist() == [round(share * 196)] * 3
    assert not torch.equal(mask[0], mask[1])


def test_a_mask_leaves_something_to_see() -> None:
    with pytest.raises(ValueError, match=r"a share of 0\.9 hides 4 of 4 positions: take smaller patches"):
        tube_mask(PatchGrid(8, 2, 2), 1, 0.9)
    assert hidden_positions(PatchGrid(8, 2, 3), 0.9) == 5  # six are the fewest


def test_pixels_of_a_patch() -> None:
    cut = Cut.of(VIDEO, patch=16, tubelet=2)
    frames = torch.randn(1, 3, 8, 64, 96)
    pixels = cut.pixels(frames)
    assert pixels.shape == (1, 4 * 4 * 6, 2 * 16 * 16, 3)
    number = 1 * 24 + 2 * 6 + 3  # moment 1, row 2, column 3
    expected = frames[0, :, 2:4, 32:48, 48:64].permute(1, 2, 3, 0).reshape(512, 3)
    assert torch.equal(pixels[0, number], expected)


def pretraining() -> tuple[VideoMae, Tensor, Tensor]:
    torch.manual_seed(0)
    network = build_videomae_pretraining(VIDEO, decoder=TransformerSize(16, 1, 2), **TINY)
    mask = tube_mask(PatchGrid(4, 4, 6), 2, 0.9, torch.Generator().manual_seed(0))
    return network, foreign.clips(2, 8, 96)[:, :, :64], mask


def test_the_encoder_sees_a_tenth_and_the_rest_cannot_leak() -> None:
    network, clips, mask = pretraining()
    frames = network.normalise(clips)
    seen = network.encoder(frames, mask)
    assert seen.shape == (2, 4 * (24 - 22), 32)
    # Other pixels where it is hidden: the encoder does not notice.
    patchwise = (
        mask.view(2, 4, 4, 6).repeat_interleave(2, 1).repeat_interleave(16, 2).repeat_interleave(16, 3)
    )
    other = torch.where(patchwise.unsqueeze(1), torch.zeros(()), frames)
    torch.testing.assert_close(network.encoder(other, mask), seen)


def test_targets_are_standardised_patches() -> None:
    network, clips, mask = pretraining()
    targets = network.targets(network.normalise(clips), mask).view(2, 4 * 22, 512, 3)
    torch.testing.assert_close(targets.mean(2), torch.zeros(2, 88, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(targets.std(2), torch.ones(2, 88, 3), atol=1e-4, rtol=0)


def test_reconstruction_is_learnt_and_every_parameter_takes_part() -> None:
    network, clips, mask = pretraining()
    ramp = torch.arange(96, dtype=torch.uint8).view(1, 1, 1, 96, 1)  # a picture that can be guessed
    clips = ramp.expand_as(clips).contiguous()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses: list[float] = []
    for step in range(12):
        loss = network(clips, mask)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1.0, abs=0.2)  # the variance of what is to be rebuilt
    assert losses[-1] < 0.8 * losses[0]


def test_the_encoder_goes_on_as_a_classifier() -> None:
    network, clips, _ = pretraining()
    classifier = build_videomae(VIDEO, 2, **TINY)
    classifier.encoder.load_state_dict(network.encoder.state_dict())
    with torch.inference_mode():
        expected = classifier.head(network.encoder(network.normalise(clips)).mean(1))
        torch.testing.assert_close(classifier.eval()(clips), expected)


def test_positions_are_waves() -> None:
    table = waves(3, 4)
    expected = [[0.0, 1.0, 0.0, 1.0], [0.841471, 0.540302, 0.0099998, 0.99995]]
    torch.testing.assert_close(table[0, :2], torch.tensor(expected), atol=1e-5, rtol=0)
