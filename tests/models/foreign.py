"""Other people's networks, imported in spite of what is missing beside the CPU build of torch.

torchvision's wheel on PyPI is built for CUDA: beside the CPU build of torch its compiled operators do not
load, and its import fails while it describes two of them. Its networks do not use them. So the two are
declared here, without code, if the plain import fails. PyTorchVideo itself imports as it is; fvcore, which
it uses, still calls ``torch.jit.script``, whose deprecation is not ours to report.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from tests import parts

UNLOADED = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def torchvision(module: str = "torchvision.models") -> Any:
    try:
        return _imported(module)
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_operators()
    return _imported(module)


@cache
def _declare_operators() -> torch.library.Library:
    """Cached, since the declarations go when the library object goes."""
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in UNLOADED:
        library.define(name + SIGNATURE)  # type: ignore[no-untyped-call]
    return library


def pytorchvideo(module: str) -> Any:
    torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _imported(module)


def transformers() -> Any:
    return _imported("transformers")


def _imported(module: str) -> Any:
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("torchvision."):
            raise
        parts.miss(package, f"the parity tests need the Python package {error.name}")


def unsettle(network: nn.Module, seed: int = 0) -> None:
    """Give norms other statistics and factors than the fresh ones, which hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        if value.ndim == 1:
            noise = torch.rand(value.shape, generator=generator) - 0.5  # -0.5 to 0.5
            value.copy_(1.0 + noise if name.endswith(("running_var", "weight")) else 0.1 * noise)


def clips(count: int, frames: int, size: int) -> Tensor:
    """(count, frames, size, size, 3) uint8 noise."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, frames, size, size, 3), dtype=torch.uint8, generator=generator)


def assert_same_logits(ours: Tensor, theirs: Tensor) -> None:
    """To a hundred-thousandth of the largest; all zeros or all alike prove nothing."""
    assert theirs.std() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-5 * float(theirs.abs().max()))
