"""Which execution provider serves, and with which options. Pure: the only place where these are chosen.

The names of options are those of ONNX Runtime's documentation of its CUDA and TensorRT providers (checked
against the names inside of onnxruntime-gpu 1.31).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.spec import ModelSpec

Shapes = Mapping[str, tuple[int, ...]]  # name of an input -> its dimensions after the number of clips
Chain = tuple[tuple[str, dict[str, str]], ...]  # ONNX Runtime's names, best first, with options

# Setting -> ONNX Runtime's name, best first: the order in which ``auto`` tries them.
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
ON_GPU = frozenset({"tensorrt", "cuda"})
LARGE_CLIP_PIXELS = 1_000_000  # of all its frames


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """How sessions on a GPU are built; a CPU looks at none of it."""

    max_batch_clips: int = 8  # largest batch: buffers and TensorRT's shapes are made for it
    cuda_graphs: bool = True  # on ``cuda``: kernels of a batch size are recorded once and replayed
    cache_dir: Path | None = None  # TensorRT's engines and timings; None: built again at each start


def most_clips(provider: str, spec: ModelSpec, max_batch_clips: int) -> int:
    """Clips of one run of a model, at most ``max_batch_clips``; of large clips a CPU takes one at a time.

    Measured with OpenVINO and the escalation model (clips of 24 x 256 x 256): eight at a time keep 1.7 GB
    more than one, for as long as the process lives, and take about a tenth less CPU time each.
    """
    pixels = spec.video.frames * spec.video.height * spec.video.width
    return 1 if provider not in ON_GPU and pixels > LARGE_CLIP_PIXELS else max_batch_clips


def candidates(available: Iterable[str]) -> tuple[str, ...]:
    """What ``auto`` tries, best first, of the providers in the wheel (ONNX Runtime's names).

    Who installs the GPU's wheel wants the GPU: many times slower on the CPU is an error, not a way out.
    """
    names = set(available)
    found = tuple(name for name, ort_name in PROVIDERS.items() if ort_name in names)
    on_gpu = tuple(name for name in found if name in ON_GPU)
    return on_gpu or found


def chain(provider: str, threads: int, precision: str, shapes: Shapes, gpu: GpuOptions) -> Chain:
    """The providers of a session. TensorRT hands what it has no kernel for to CUDA: both are the GPU."""
    if provider == "openvino":
        return ((PROVIDERS[provider], {"num_of_threads": str(threads)} if threads else {}),)
    if provider == "cuda":
        return ((PROVIDERS[provider], _cuda(cuda_graphs=gpu.cuda_graphs)),)
    if provider == "tensorrt":
        return (
            (PROVIDERS[provider], _tensorrt(precision, shapes, gpu)),
            (PROVIDERS["cuda"], _cuda(cuda_graphs=False)),
        )
    return ((PROVIDERS[provider], {}),)


def batch_sizes(max_batch_clips: int) -> tuple[int, ...]:
    """Sizes that a GPU runs: powers of two and the largest. A batch is filled up to the next one.

    Every other size would search for its convolutions and record its graph when it first comes, in the
    middle of serving.
    """
    powers = tuple(2**i for i in range(max_batch_clips.bit_length()) if 2**i < max_batch_clips)
    return (*powers, max_batch_clips)


def fitting(clips: int, sizes: Sequence[int]) -> int:
    """The least of ``sizes`` (ascending, the last no less than ``clips``) that holds so many."""
    return sizes[bisect_left(sizes, clips)]


def input_shapes(spec: ModelSpec) -> Shapes:
    """What a network of this specification takes for each clip, by name."""
    shapes: dict[str, tuple[int, ...]] = {"clips": spec.video.clip_shape}
    if spec.audio is not None:
        shapes |= {"log_mel": (spec.audio.frames, spec.audio.mels), "has_audio": ()}
    return shapes


def cache_folder(cache_dir: Path, sha256: str, runtime_version: str) -> Path:
    """Of one file of weights: its engines are worth nothing to another file or runtime."""
    return cache_dir / f"onnxruntime-{runtime_version}" / sha256[:16]


def _cuda(*, cuda_graphs: bool) -> dict[str, str]:
    options = {
        "cudnn_conv_algo_search": "EXHAUSTIVE",  # tries every algorithm once for each batch size, at start
        "cudnn_conv_use_max_workspace": "1",
        "arena_extend_strategy": "kSameAsRequested",  # several sessions share a GPU
    }
    return options | ({"enable_cuda_graph": "1"} if cuda_graphs else {})


def _tensorrt(precision: str, shapes: Shapes, gpu: GpuOptions) -> dict[str, str]:
    """One profile of shapes, best at the full batch: that is what runs under load.

    No CUDA graphs here: TensorRT has fused most launches away, and its graph is recorded for one shape.
    """
    options = {
        "trt_fp16_enable": "0" if precision == "fp32" else "1",
        "trt_int8_enable": "1" if precision == "int8" else "0",
        "trt_profile_min_shapes": _profile(shapes, 1),
        "trt_profile_opt_shapes": _profile(shapes, gpu.max_batch_clips),
        "trt_profile_max_shapes": _profile(shapes, gpu.max_batch_clips),
    }
    if gpu.cache_dir is None:
        return options
    folder = str(gpu.cache_dir)
    return options | {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }


def _profile(shapes: Shapes, clips: int) -> str:
    """For example ``clips:8x16x112x112x3,has_audio:8``."""
    return ",".join(f"{name}:{'x'.join(map(str, (clips, *shape)))}" for name, shape in shapes.items())
