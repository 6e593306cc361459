"""The forms in which one network is shipped: all compute the same function, each suits some providers.

- fp32: the reference, and what a provider that nobody thought of gets.
- int8: static QDQ.
- int8-lowered: the same without 3-D convolutions (``trainer.lower``); absent where there are none anyway.
- int8-symmetric: lowered, activations around 0, the only ones that TensorRT takes.
- fp16: for CUDA, whose provider has no INT8 convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from models.spec import ModelSpec, Variant, file_sha256
from trainer.config import Quantise
from trainer.evaluation.speeds import Speed
from trainer.export import Feed
from trainer.half import to_half
from trainer.lower import CannotLower, lower
from trainer.quantize import quantise

Precision = Literal["fp32", "fp16", "int8"]

REFERENCE = "fp32"
PRECISIONS: Mapping[str, Precision] = {
    "fp32": "fp32",
    "int8": "int8",
    "int8-lowered": "int8",
    "int8-symmetric": "int8",
    "fp16": "fp16",
}
# Nothing here measures these: chosen by what the runtimes can do. FP32 where the variant is not there.
UNMEASURED = {"cuda": "fp16", "tensorrt": "int8-symmetric"}

Files = Mapping[str, Path]  # variant to its file


def export_variants(fp32: Path, folder: Path, feeds: Sequence[Feed], how: Quantise) -> Files:
    """Every variant of an exported network, written to ``folder``; ``feeds`` calibrate the ranges."""
    files = {name: folder / f"{fp32.stem}-{name}.onnx" for name in PRECISIONS} | {REFERENCE: fp32}
    if not to_half(fp32, files["fp16"]):
        del files["fp16"]
    quantise(fp32, files["int8"], feeds, how)
    lowered = _lowered(fp32, folder)
    if lowered == fp32:
        del files["int8-lowered"]
    else:
        quantise(lowered, files["int8-lowered"], feeds, how)
    quantise(lowered, files["int8-symmetric"], feeds, how.model_copy(update={"symmetric": True}))
    return files


def _lowered(fp32: Path, folder: Path) -> Path:
    """The file without 3-D convolutions; the file itself where it has none, or one that has no 2-D form."""
    target = folder / f"{fp32.stem}-lowered.onnx"
    try:
        return target if lower(fp32, target) else fp32
    except CannotLower:
        return fp32


def described(files: Files) -> tuple[Variant, ...]:
    """For a specification, the reference first; no providers yet."""
    return tuple(
        Variant(
            name=name,
            file=f"{name}.onnx",
            sha256=file_sha256(files[name]),
            size_bytes=files[name].stat().st_size,
            precision=precision,
            providers=(),
        )
        for name, precision in PRECISIONS.items()
        if name in files
    )


def with_providers(spec: ModelSpec, speeds: Iterable[Speed]) -> ModelSpec:
    """Each provider named by the variant that was fastest on it; a variant that none wants is dropped.

    The reference stays. GPUs are not measured: see ``UNMEASURED``.
    """
    names = {variant.name for variant in spec.variants}
    best: dict[str, str] = {}
    for speed in sorted(speeds, key=lambda speed: speed.least_ms_per_clip, reverse=True):
        best[speed.provider] = speed.variant
    for provider, wanted in UNMEASURED.items():
        best[provider] = wanted if wanted in names else REFERENCE
    kept = []
    for variant in spec.variants:
        providers = tuple(provider for provider, name in best.items() if name == variant.name)
        if providers or variant.name == REFERENCE:
            kept.append(variant.model_copy(update={"providers": providers}))
    return spec.model_copy(update={"variants": tuple(kept)})
