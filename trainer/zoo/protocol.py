"""What is compared, read from a YAML file. Importable without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from models.spec import AudioInput, Name, VideoInput
from trainer.config import Augment, Data, Fit, Section, Target, TrainConfig, Views
from trainer.config.base import read_section
from trainer.data.manifest import read_manifest


class Published(Section):
    """A figure that others published, with what differs from our protocol."""

    method: str
    figure: str
    protocol: str


class SetPlan(Section):
    manifest: Path
    title: str
    without: tuple[str, ...] = Field((), description="manifest labels that are left out")
    positive: str = Field("", description="the label that means yes; empty: one of several labels is right")
    folds: int = Field(3, ge=2, description="grouped folds where the manifest fixes none")
    epochs: int = Field(12, ge=1, description="of networks that start from random weights")
    note: str = Field("", description="how the folds were made, and what a reader must know")
    published: tuple[Published, ...] = ()


class Network(Section):
    architecture: Name
    arguments: dict[str, Any] = Field(default_factory=dict)
    size: int = Field(64, ge=16, description="pixels, height and width")
    recipe: str = "scratch"
    init: str = ""
    sets: tuple[str, ...] = Field((), description="empty: the protocol's first two")


class Protocol(Section):
    """The same clips, augmentation, seed and test views for all; ``recipes`` say how long is trained."""

    frames: int = 8
    frame_rate_hz: float = 4.0
    test_clips: int = Field(2, ge=1, description="clips of a video when it is scored; logits are averaged")
    views: Views = Field(Views(), description="how these clips are taken")
    audio_frames: int = 200
    seed: int = 0
    augment: Augment = Augment()
    recipes: dict[str, Fit]
    sets: dict[str, SetPlan]
    networks: dict[str, Network]

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for name, network in self.networks.items():
            if network.recipe not in self.recipes:
                raise ValueError(f"network {name}: no recipe {network.recipe!r}")
            for chosen in network.sets:
                if chosen not in self.sets:
                    raise ValueError(f"network {name}: no set {chosen!r}")
        return self

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(set, network) in the order in which they run: set by set."""
        return tuple(
            (chosen, name)
            for chosen in self.sets
            for name, network in self.networks.items()
            if chosen in (network.sets or tuple(self.sets)[:2])
        )

    def config(self, set_name: str, network_name: str, root: Path, *, hears: bool) -> TrainConfig:
        """The configuration that trains this network on this set. Raises ManifestError."""
        plan, network = self.sets[set_name], self.networks[network_name]
        recipe = self.recipes[network.recipe]
        changes: dict[str, Any] = {"loss": "binary" if plan.positive else "categorical", "seed": self.seed}
        if not network.init:
            changes["epochs"] = plan.epochs
        return TrainConfig.model_validate(
            {
                "name": network_name.replace("_", "-"),
                "version": "0",
                "role": "filter",
                "data": Data(
                    root=root,
                    manifest=plan.manifest,
                    folds=plan.folds,
                    clips=self.test_clips,
                    views=self.views,
                ),
                "labels": self._targets(plan, root),
                "video": VideoInput(
                    frames=self.frames,
                    frame_rate_hz=self.frame_rate_hz,
                    height=network.size,
                    width=network.size,
                ),
                "audio": AudioInput(frames=self.audio_frames) if hears else None,
                "architecture": {"name": network.architecture, "arguments": network.arguments},
                "init": network.init,
                "augment": self.augment,
                "fit": recipe.model_copy(update=changes),
            }
        )

    def _targets(self, plan: SetPlan, root: Path) -> tuple[Target, ...]:
        if plan.positive:
            return (Target(name=plan.positive.lower(), positives=(plan.positive,)),)
        labels = {example.label for example in read_manifest(root / plan.manifest, root)}
        kept = sorted(labels - set(plan.without))
        return tuple(Target(name=label.lower(), positives=(label,)) for label in kept)


def read_protocol(path: Path) -> Protocol:
    """Raises ConfigError naming the file and the field."""
    return read_section(path, Protocol)


class Lever(Section):
    title: str
    network: str = Field(description="of the protocol")
    change: dict[str, Any] = Field(default_factory=dict, description="to the training configuration")
    teachers: tuple[str, ...] = Field((), description="networks of the protocol")


class Levers(Section):
    set: str = Field(description="of the protocol")
    levers: dict[Name, Lever]

    def plain(self) -> dict[str, Lever]:
        """What levers are compared with, by network."""
        networks = dict.fromkeys(lever.network for lever in self.levers.values())
        return {network: Lever(title="", network=network) for network in networks}


def read_levers(path: Path) -> Levers:
    """Raises ConfigError naming the file and the field."""
    return read_section(path, Levers)
