"""What is cut is gone, and nothing else has changed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.architectures import registry
from models.architectures.narrow import insides, widths_of
from models.spec import VideoInput
from tests.trainer.small import batch
from trainer.config import Architecture, Fit, Prune, TrainConfig
from trainer.export import check_parity, export_onnx
from trainer.fit import objective_of
from trainer.prune import cut, importance, kept_width, pruned_arguments

VIDEO = VideoInput(frames=4, frame_rate_hz=8, height=32, width=32)
FAMILIES = [("r2plus1d", {"depth": 10, "width": 8}), ("frames_lite", {}), ("i3d_lite", {})]


@pytest.fixture(params=FAMILIES, ids=[name for name, _ in FAMILIES])
def family(request: pytest.FixtureRequest) -> tuple[str, dict[str, int]]:
    name, arguments = request.param
    return name, arguments


def build(family: tuple[str, dict[str, int]], **more: object) -> nn.Module:
    torch.manual_seed(0)
    network = registry.build(family[0], {**family[1], **more}, VIDEO, 1)
    for module in network.modules():  # as after training: no norm is like another
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


def logits(network: nn.Module) -> Tensor:
    with torch.inference_mode():
        said: Tensor = network(*batch(1).inputs.values())
    return said


@pytest.mark.parametrize(
    ("width", "share", "kept"), [(96, 0.5, 48), (144, 0.3, 104), (45, 0.5, 24), (9, 0.5, 8), (6, 0.5, 6)]
)
def test_widths_fill_vectors(width: int, share: float, kept: int) -> None:
    assert kept_width(width, share) == kept


def test_the_cut_network_says_what_the_masked_one_says(family: tuple[str, dict[str, int]]) -> None:
    dense, small = build(family), build(family)
    importances = importance(small, [batch(0), batch(2)], objective_of(Fit()))
    before = sum(parameter.numel() for parameter in small.parameters())
    for inside, each in zip(insides(dense), importances, strict=True):
        gone = each.argsort(descending=True, stable=True)[kept_width(inside.width, 0.5) :]
        for value in (inside.norms[-1].weight, inside.norms[-1].bias):
            value.data[gone] = 0.0  # after the activation the channel is 0
    cut(small, 0.5, importances)
    assert sum(parameter.numel() for parameter in small.parameters()) < 0.8 * before
    torch.testing.assert_close(logits(small), logits(dense), atol=1e-4, rtol=1e-4)
    assert not torch.equal(logits(small), logits(build(family)))


def test_the_registry_rebuilds_it_and_it_learns_and_exports(tmp_path: Path) -> None:
    small = build(FAMILIES[0])
    cut(small, 0.5, importance(small, [batch(0)], objective_of(Fit())))
    rebuilt = build(FAMILIES[0], widths=widths_of(small))
    rebuilt.load_state_dict(small.state_dict())
    torch.testing.assert_close(logits(rebuilt), logits(small))
    small.train()(*batch(0).inputs.values()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small.parameters())
    export_onnx(small, batch(0), tmp_path / "small.onnx")
    assert check_parity(small, tmp_path / "small.onnx", [batch(1)], 1e-3) <= 1e-3


def test_what_matters_most_to_the_loss_stays() -> None:
    network = build(FAMILIES[0])
    inside = insides(network)[0]
    inside.reader.weight.data[:, :4] = 0.0  # nobody reads these
    first = importance(network, [batch(0)], objective_of(Fit()))[0]
    assert (first[:4] == 0).all()
    assert (first[4:] > 0).any()


def test_widths_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"widths \[1, 2\] do not fit blocks that are \[.*\] wide inside"):
        build(FAMILIES[0], widths=[1, 2])


def config(name: str, **more: object) -> TrainConfig:
    data = {"manifest": "m.csv"}
    labels = [{"name": "motion", "positives": ["moving"]}]
    sections = {"name": "tiny", "version": "1", "role": "filter", "data": data, "labels": labels}
    return TrainConfig.model_validate(
        {**sections, "video": VIDEO, "architecture": Architecture(name=name, arguments=dict(more))}
    )


def test_the_specification_says_the_widths() -> None:
    plain = config("r2plus1d", depth=10, width=8)
    assert pruned_arguments(plain) == {"depth": 10, "width": 8}
    pruned = pruned_arguments(plain.model_copy(update={"prune": Prune(share=0.5)}))
    small = build(FAMILIES[0])
    cut(small, 0.5, importance(small, [batch(0)], objective_of(Fit())))
    assert pruned["widths"] == widths_of(small)


def test_a_network_that_cannot_be_pruned_is_named() -> None:
    with pytest.raises(ValueError, match="architecture c3d has no block that can be pruned"):
        pruned_arguments(config("c3d", width=4, hidden=8).model_copy(update={"prune": Prune(share=0.5)}))
