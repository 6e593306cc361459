"""The shipped protocol can be run."""

from __future__ import annotations

import pytest
import torch

from models.architectures import registry
from models.architectures.efficientnet_lite import LiteTrunk
from models.architectures.motion import LinearHead
from models.spec import VideoInput
from trainer.zoo.cli import PROTOCOL
from trainer.zoo.protocol import read_protocol

SHIPPED = read_protocol(PROTOCOL)


def test_every_architecture_takes_part() -> None:
    assert {network.architecture for network in SHIPPED.networks.values()} == set(registry.FAMILIES)


def test_networks_that_only_listen_hear_recordings_and_others_see_actions() -> None:
    for name, network in SHIPPED.networks.items():
        listens = name.startswith("audio_")
        assert ((("esc10", name) in SHIPPED.pairs()), listens) in {(True, True), (False, False)}
        assert network.sets or ("ucf101_mini", name) in SHIPPED.pairs()


@pytest.mark.parametrize("name", SHIPPED.networks)
def test_a_network_has_what_its_recipe_wants(name: str) -> None:
    chosen = SHIPPED.networks[name]
    video = VideoInput(
        frames=SHIPPED.frames,
        frame_rate_hz=SHIPPED.frame_rate_hz,
        height=chosen.size,
        width=chosen.size,
    )
    with torch.device("meta"):
        network = registry.build(chosen.architecture, chosen.arguments, video, labels=6)
    recipe = SHIPPED.recipes[chosen.recipe]
    assert not recipe.probe_views or isinstance(network.head, LinearHead)
    assert not chosen.init or isinstance(network.pretrained, LiteTrunk)
    # Image weights at rest for all of the training.
    assert not chosen.init or recipe.epochs == 0 or recipe.head_epochs >= recipe.epochs
