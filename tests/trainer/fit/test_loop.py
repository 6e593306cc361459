"""What the settings of the loop change, and what they must not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.fit.conftest import MakeSet
from tests.trainer.fit.small import SEED, VIDEOS
from trainer.data.dataset import Batch, VideoSet
from trainer.fit import Objective, fit, objective_of, score, start_of
from trainer.fit.loop import Diverged
from trainer.fit.stopping import inner_split

CONVOLUTIONS = {"architecture": {"name": "r2plus1d", "arguments": {"depth": 10, "width": 4}}}
PLAIN = {  # no dropout
    "architecture": {"name": "videomae", "arguments": {"patch": 16, "dimension": 8, "depth": 2, "heads": 2}}
}


def train(videos: VideoSet, **options: Any) -> dict[str, Tensor]:
    return fit(videos, range(VIDEOS), SEED, lambda *_: None, **options).state_dict()


def differ(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    return max(float((value - second[name]).abs().max()) for name, value in first.items())


@pytest.mark.parametrize("changes", [PLAIN, CONVOLUTIONS])
def test_the_same_seed_gives_the_same_network(make_set: MakeSet, changes: dict[str, Any]) -> None:
    videos = make_set(changes, epochs=1)
    assert differ(train(videos), train(videos)) == 0.0


def test_it_learns(make_set: MakeSet) -> None:
    videos = make_set(PLAIN, epochs=12, batch=4, learning_rate=2e-2, smoothing=0.0)
    losses: list[float] = []
    network = fit(videos, range(VIDEOS), SEED, lambda epoch, loss: losses.append(loss))
    assert losses[-1] < 0.5 * losses[0]
    means = torch.tensor([float(logits.mean()) for logits in score(network, videos, range(VIDEOS))])
    right = (means > 0) == torch.from_numpy(videos.targets[:, 0] > 0.5)
    assert right.float().mean() > 0.9


def test_a_batch_in_parts_is_the_same_batch(make_set: MakeSet) -> None:
    """Seven clips in three parts: two, two and three."""
    whole, parts = (train(make_set(PLAIN, epochs=1, batch=7, accumulate=count)) for count in (1, 3))
    assert differ(whole, parts) < 1e-4


def test_recomputing_changes_nothing(make_set: MakeSet) -> None:
    """Neither gradients nor what batch norms remember, though they see every batch twice."""
    kept, again = (train(make_set(CONVOLUTIONS, epochs=1, recompute=on)) for on in (False, True))
    assert differ(kept, again) < 1e-6


def test_brain_floats_are_near(make_set: MakeSet) -> None:
    exact, mixed = (train(make_set(PLAIN, epochs=1, precision=p)) for p in ("32-true", "bf16-mixed"))
    assert 0.0 < differ(exact, mixed) < 0.05
    assert all(value.dtype == torch.float32 for value in mixed.values())


def test_one_label_of_many(make_set: MakeSet) -> None:
    labels = [
        {"name": "motion", "positives": ["moving"]},
        {"name": "rest", "positives": ["standing"]},
    ]
    videos = make_set({**PLAIN, "labels": labels}, epochs=1, loss="categorical")
    network = fit(videos, range(VIDEOS), SEED, lambda *_: None)
    assert {logits.shape[1] for logits in score(network, videos, (0, 1))} == {2}


def test_a_network_with_exits_learns_at_each_and_is_scored_at_the_last(make_set: MakeSet) -> None:
    arguments = {"depth": 10, "width": 4, "exits": [0]}
    videos = make_set({"architecture": {"name": "early_exit", "arguments": arguments}}, epochs=1)
    before = start_of(videos.config).network.state_dict()
    network = fit(videos, range(VIDEOS), SEED, lambda *_: None)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {"heads.0.fc.weight", "heads.3.fc.weight"} <= changed
    (logits,) = score(network, videos, (0,))
    answers = network(*videos.video(0).inputs.values())
    assert torch.equal(torch.from_numpy(logits), answers[:, -1])


def test_an_objective_of_ones_own_learns_its_own_layer(make_set: MakeSet, tmp_path: Path) -> None:
    class Weighted(nn.Module):
        def __init__(self, inner: Objective) -> None:
            super().__init__()
            self.inner = inner
            self.scale = nn.Parameter(torch.ones(()))
            self.fixed = nn.Parameter(torch.ones(()), requires_grad=False)

        def forward(self, network: nn.Module, batch: Batch) -> Tensor:
            return self.inner(network, batch) * self.scale.exp() * self.fixed

    videos = make_set(PLAIN, epochs=1)
    objective = Weighted(objective_of(videos.config.fit))
    train(videos, objective=objective, folder=tmp_path)
    assert objective.scale.item() < 1.0
    assert objective.fixed.item() == 1.0


def test_it_stops_when_held_back_sources_are_judged_no_better(make_set: MakeSet, tmp_path: Path) -> None:
    """The loss that is validated rises while the one that is trained falls: the first epoch is the best."""
    seen: set[int] = set()
    validated: set[int] = set()

    def worse_and_worse(network: nn.Module, batch: Batch) -> Tensor:
        (seen if network.training else validated).update(batch.members.tolist())
        total = sum((parameter.sum() for parameter in network.parameters()), torch.zeros(()))
        return total if network.training else -total

    videos = make_set(PLAIN, epochs=9, validation=0.2, patience=2, average=0.0)
    network = fit(
        videos, range(VIDEOS), SEED, lambda *_: None, objective=worse_and_worse, folder=tmp_path / "run"
    )
    groups = [{videos.examples[index].group for index in part} for part in (seen, validated)]
    assert not groups[0] & groups[1]
    assert len(validated) == 4
    epochs = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in epochs if "mean_loss" in line] == [1, 2, 3]
    best = -sum(parameter.sum().item() for parameter in network.parameters())
    first = next(line["validation_loss"] for line in epochs if "mean_loss" in line)
    assert best == pytest.approx(first, abs=1e-3)


def test_a_loss_that_is_no_number_is_told(make_set: MakeSet) -> None:
    videos = make_set(PLAIN, learning_rate=1e30, epochs=2)
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step \d+: lower fit.learning_rate"):
        train(videos)


def test_a_batch_that_cannot_be_shared_out_is_told(make_set: MakeSet) -> None:
    with pytest.raises(ValueError, match=r"a batch of 6 examples cannot be shared out: .* need 8"):
        train(make_set(PLAIN, accumulate=4))


def test_what_was_learnt_as_a_whole_learns_at_once(make_set: MakeSet, tmp_path: Path) -> None:
    """It has no fresh layer that could learn while the rest rests."""
    before = train(make_set(PLAIN, epochs=1), folder=tmp_path)
    init = str(tmp_path / "network.safetensors")
    assert differ(before, train(make_set({**PLAIN, "init": init}, epochs=1, head_epochs=1))) > 0.0


def test_the_head_never_sees_what_says_when_to_stop(make_set: MakeSet) -> None:
    """Labels of what is held back for validation do not change what is fitted in closed form."""
    changes = {"architecture": {"name": "r2plus1d_lite", "arguments": {}}, "init": "efficientnet-lite0"}
    settings = {"probe_views": 1, "validation": 0.2, "learning_rate": 1e-12, "weight_decay": 0.0}
    videos = make_set(changes, epochs=1, head_epochs=1, **settings)
    members, held_back = inner_split(videos.examples, range(VIDEOS), 0.2)
    targets = videos.targets.copy()
    targets[list(held_back)] = 1.0 - targets[list(held_back)]
    told, lied_to = train(videos), train(replace(videos, targets=targets))
    assert differ(told, lied_to) == 0.0
    targets[list(members)] = 1.0 - targets[list(members)]
    assert differ(told, train(replace(videos, targets=targets))) > 0.1


def test_without_epochs_the_head_sees_all(make_set: MakeSet) -> None:
    """There is nothing to stop."""
    changes = {"architecture": {"name": "r2plus1d_lite", "arguments": {}}, "init": "efficientnet-lite0"}
    some, none = (train(make_set(changes, epochs=0, probe_views=1, validation=v)) for v in (0.5, 0.0))
    assert differ(some, none) == 0.0


@pytest.mark.parametrize("frozen", [True, False])
def test_pretrained_weights_rest_at_first_and_their_norms_always(make_set: MakeSet, frozen: bool) -> None:
    changes = {
        "architecture": {"name": "r2plus1d_lite", "arguments": {}},
        "init": "efficientnet-lite0",
    }
    videos = make_set(changes, epochs=2, head_epochs=1, frozen_blocks=10, frozen_norms=frozen, average=0.0)
    before = start_of(videos.config).network.state_dict()
    after = train(videos)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert "head.fc.weight" in changed
    assert "trunk._blocks.10._project_conv.weight" in changed
    assert not any(name.startswith("trunk._blocks.9.") and name.endswith("conv.weight") for name in changed)
    assert ("trunk._blocks.10._bn2.running_mean" in changed) != frozen
