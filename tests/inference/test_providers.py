from __future__ import annotations

from pathlib import Path

import pytest

from models.spec import VideoInput
from tests.inference.tiny import spec
from worker.inference.providers import (
    Chain,
    GpuOptions,
    batch_sizes,
    cache_folder,
    candidates,
    chain,
    fitting,
    input_shapes,
    most_clips,
)

SHAPES = {"clips": (2, 16, 16, 3), "has_audio": ()}
CONVOLUTIONS = {
    "cudnn_conv_algo_search": "EXHAUSTIVE",
    "cudnn_conv_use_max_workspace": "1",
    "arena_extend_strategy": "kSameAsRequested",
}
PROFILES = {
    "trt_profile_min_shapes": "clips:1x2x16x16x3,has_audio:1",
    "trt_profile_opt_shapes": "clips:8x2x16x16x3,has_audio:8",
    "trt_profile_max_shapes": "clips:8x2x16x16x3,has_audio:8",
}
CACHE = {
    "trt_engine_cache_enable": "1",
    "trt_engine_cache_path": "/cache",
    "trt_timing_cache_enable": "1",
    "trt_timing_cache_path": "/cache",
}
INT8 = {"trt_fp16_enable": "1", "trt_int8_enable": "1"}
FP16 = {"trt_fp16_enable": "1", "trt_int8_enable": "0"}
FP32 = {"trt_fp16_enable": "0", "trt_int8_enable": "0"}
DEFAULT, CACHED = GpuOptions(), GpuOptions(cache_dir=Path("/cache"))


@pytest.mark.parametrize(
    ("provider", "threads", "precision", "gpu", "expected"),
    [
        ("cpu", 2, "int8", DEFAULT, (("CPUExecutionProvider", {}),)),
        ("openvino", 0, "int8", DEFAULT, (("OpenVINOExecutionProvider", {}),)),
        ("openvino", 2, "int8", DEFAULT, (("OpenVINOExecutionProvider", {"num_of_threads": "2"}),)),
        (
            "cuda",
            2,
            "fp16",
            DEFAULT,
            (("CUDAExecutionProvider", CONVOLUTIONS | {"enable_cuda_graph": "1"}),),
        ),
        ("cuda", 2, "fp16", GpuOptions(cuda_graphs=False), (("CUDAExecutionProvider", CONVOLUTIONS),)),
        (
            "tensorrt",
            2,
            "int8",
            CACHED,
            (
                ("TensorrtExecutionProvider", INT8 | PROFILES | CACHE),
                ("CUDAExecutionProvider", CONVOLUTIONS),
            ),
        ),
        (
            "tensorrt",
            2,
            "fp16",
            DEFAULT,
            (("TensorrtExecutionProvider", FP16 | PROFILES), ("CUDAExecutionProvider", CONVOLUTIONS)),
        ),
        (
            "tensorrt",
            2,
            "fp32",
            DEFAULT,
            (("TensorrtExecutionProvider", FP32 | PROFILES), ("CUDAExecutionProvider", CONVOLUTIONS)),
        ),
    ],
)
def test_options_of_each_provider(
    provider: str, threads: int, precision: str, gpu: GpuOptions, expected: Chain
) -> None:
    assert chain(provider, threads, precision, SHAPES, gpu) == expected


@pytest.mark.parametrize(
    ("wheel", "expected"),
    [
        (["CPUExecutionProvider"], ("cpu",)),
        (["CPUExecutionProvider", "OpenVINOExecutionProvider"], ("openvino", "cpu")),
        (
            ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
            ("tensorrt", "cuda"),
        ),
        (["AzureExecutionProvider", "CPUExecutionProvider"], ("cpu",)),
    ],
    ids=["plain", "OpenVINO", "GPU: never the CPU", "one that we do not know"],
)
def test_what_auto_tries(wheel: list[str], expected: tuple[str, ...]) -> None:
    assert candidates(wheel) == expected


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8)), (33, (1, 2, 4, 8, 16, 32, 33))],
)
def test_batch_sizes_of_a_gpu(most: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(most) == sizes


@pytest.mark.parametrize(("clips", "size"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 6), (6, 6)])
def test_a_batch_is_filled_up_to_the_next_size(clips: int, size: int) -> None:
    assert fitting(clips, (1, 2, 4, 6)) == size


def test_inputs_of_a_specification() -> None:
    assert input_shapes(spec()) == {"clips": (2, 16, 16, 3)}
    assert input_shapes(spec(audio=True)) == {"clips": (2, 16, 16, 3), "log_mel": (4, 8), "has_audio": ()}


def test_engines_of_other_weights_or_runtimes_lie_elsewhere() -> None:
    folder = cache_folder(Path("/cache"), "ab" * 32, "1.31.1")
    assert folder == Path("/cache/onnxruntime-1.31.1/abababababababab")


@pytest.mark.parametrize(
    ("provider", "frames", "side", "clips"),
    [
        ("openvino", 8, 224, 8),
        ("openvino", 24, 256, 1),
        ("cpu", 24, 256, 1),
        ("cuda", 24, 256, 8),
        ("tensorrt", 24, 256, 8),
    ],
)
def test_a_cpu_takes_large_clips_one_at_a_time(provider: str, frames: int, side: int, clips: int) -> None:
    video = VideoInput(frames=frames, frame_rate_hz=10, height=side, width=side)
    assert most_clips(provider, spec(video=video), 8) == clips
