"""One model on one execution provider, proved to run there. With ``buffers``, all that knows ONNX Runtime."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from models.spec import ModelSpec, Variant
from worker.errors import ArtifactInvalid, ProviderMissing
from worker.inference.buffers import Buffers, Feed
from worker.inference.own_thread import OwnThread
from worker.inference.page_locked import page_locked
from worker.inference.providers import (
    ON_GPU,
    PROVIDERS,
    Chain,
    GpuOptions,
    batch_sizes,
    cache_folder,
    candidates,
    chain,
    input_shapes,
)
from worker.inference.registry import Artifact, verify
from worker.inference.types import Inputs, Output, blank_inputs

# Work on shapes and indices, which GPU providers leave to the CPU on purpose. Anything else that does
# not run on the provider asked for is a silent fallback, many times slower, and an error at start.
# fmt: off
BOOKKEEPING = frozenset({
    "Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather",
    "Identity", "Mul", "Range", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Sub", "Unsqueeze",
    "Where",
})
# fmt: on
ORT_ERRORS_ONLY = 3
DEVICE = "cuda"  # where a GPU's buffers lie, for TensorRT too

Interface = dict[str, tuple[str, tuple[int, ...]]]  # name -> type, dimensions after the batch
_REMEDY = {
    "cuda": "install the NVIDIA driver, and CUDA 13 and cuDNN 9 as libraries or Python packages",
    "tensorrt": "install TensorRT 10 beside CUDA 13 and cuDNN 9, or set `inference.provider` to cuda",
}
GRAPH_REFUSED = "cannot use the graph capture feature"  # ONNX Runtime's words
LIST_NODES = "session.record_ep_graph_assignment_info"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Warmth:
    """What warming up found: every batch size has its own compiled form on some providers."""

    first_s: dict[int, float]  # batch size -> first run, compilation included
    total_s: float


class Session:
    """A Runner over ONNX Runtime. Not thread-safe: its engine's owner thread has it to itself.

    On a GPU it has a thread of its own for all runs, because a recorded CUDA graph belongs to the thread
    that recorded it, and buffers there (``Buffers``).
    """

    def __init__(
        self, artifact: Artifact, variant: Variant, provider: str, threads: int, gpu: GpuOptions
    ) -> None:
        self.artifact = artifact
        self.variant = variant
        self.provider = provider
        self._spec = artifact.spec
        self._sizes = batch_sizes(gpu.max_batch_clips)
        self._outputs = _output_sizes(self._spec)
        providers = chain(provider, threads, variant.precision, input_shapes(self._spec), gpu)
        self._session = _create(artifact, variant, provider, threads, providers)
        _check_provider(self._session, artifact, provider, providers)
        _check_interface(self._session, artifact, variant)
        self._input_names = frozenset(node.name for node in self._session.get_inputs())
        self._thread: OwnThread | None = None
        if provider in ON_GPU:
            self._thread = OwnThread(f"gpu-{self._spec.role}")
            self._buffers = self._thread.call(self._on_gpu)

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def nodes(self) -> Mapping[str, int]:
        """ONNX Runtime's name of a provider -> how many nodes it runs."""
        return _nodes(self._session)

    def run(self, inputs: Inputs) -> Output:
        feed: dict[str, Any] = {"clips": np.ascontiguousarray(inputs.clips)}
        if "log_mel" in self._input_names:
            feed["log_mel"] = inputs.log_mel
            feed["has_audio"] = inputs.has_audio
        found = self._run(feed)
        for (name, size), values in zip(self._outputs.items(), found, strict=True):
            if values.shape != (len(inputs), size) or not np.isfinite(values).all():
                raise ValueError(f"{name} {values.shape} must be finite and have shape {(len(inputs), size)}")
        return Output(*found)

    def compute(self, clips: int) -> None:
        """The network alone, on what lies where it runs: for measuring it."""
        if self._thread is not None:
            self._thread.call(self._buffers.compute, clips)
        else:
            self.run(blank_inputs(self._spec, clips))

    def close(self) -> None:
        """End the session's thread, if it has one."""
        if self._thread is not None:
            self._thread.close()

    def _run(self, feed: Feed) -> list[npt.NDArray[np.float32]]:
        if self._thread is not None:
            return self._thread.call(self._buffers.run, feed)
        # Numpy's memory is read in place here, and outputs are a few bytes: binding them would save nothing.
        return [np.asarray(each, np.float32) for each in self._session.run(list(self._outputs), dict(feed))]

    def _on_gpu(self) -> Buffers:
        shapes = input_shapes(self._spec)
        return Buffers(self._session, shapes, self._outputs, self._sizes, device=DEVICE, allocate=page_locked)

    def warm_up(self, max_batch_clips: int, budget_s: float = 3.0) -> Warmth:
        """Run every batch size once, the most used ones first, until the time is used up.

        Measured with OpenVINO (2 cores, slim INT8 filter): the first run of a size takes 20-60 ms more
        than the later ones, after which its form is kept. Padding to a few sizes would cost more than
        it saves, so sizes are served as they come and those that start-up had no time for pay once.
        On a GPU there are few sizes, and all are run whatever it takes: what comes later would pay seconds.
        """
        started_s = time.perf_counter()
        first_s: dict[int, float] = {}
        on_gpu = self.provider in ON_GPU
        for clips in self._sizes if on_gpu else _by_importance(max_batch_clips):
            run_started_s = time.perf_counter()
            if first_s and not on_gpu and run_started_s - started_s > budget_s:
                break
            self.run(blank_inputs(self._spec, clips))
            first_s[clips] = time.perf_counter() - run_started_s
        return Warmth(first_s, time.perf_counter() - started_s)


def open_session(
    artifact: Artifact,
    *,
    provider: str = "auto",
    variant: str = "",
    threads: int = 0,
    gpu: GpuOptions | None = None,
) -> Session:
    """Verify the files and load them. ``auto``: the best provider that is installed and really runs.

    Raises ArtifactInvalid, or ProviderMissing naming what is installed.
    """
    gpu = gpu if gpu is not None else GpuOptions()
    if provider != "auto":
        return _open(artifact, provider, variant, threads, gpu)
    refused: list[str] = []
    for name in candidates(ort.get_available_providers()):
        try:
            return _open(artifact, name, variant, threads, gpu)
        except ProviderMissing as error:
            log.warning("%s is installed and does not run: %s", name, error)
            refused.append(str(error))
    raise ProviderMissing(
        f"no execution provider runs {artifact.reference}: {'; '.join(refused)}. "
        "Set `inference.provider` to cpu to serve without a GPU, many times slower"
    )


def installed_providers() -> tuple[str, ...]:
    """The providers of the installed wheel, best first. That one is listed does not mean that it runs."""
    available = set(ort.get_available_providers())
    return tuple(name for name, ort_name in PROVIDERS.items() if ort_name in available)


def runtime_version() -> str:
    return str(ort.__version__)


def _open(artifact: Artifact, provider: str, variant_name: str, threads: int, gpu: GpuOptions) -> Session:
    variant = artifact.variant(variant_name, provider)
    verify(artifact, variant)
    if gpu.cache_dir is not None:
        gpu = replace(gpu, cache_dir=cache_folder(gpu.cache_dir, variant.sha256, runtime_version()))
    return Session(artifact, variant, provider, threads, gpu)


def _create(
    artifact: Artifact, variant: Variant, provider: str, threads: int, providers: Chain
) -> ort.InferenceSession:
    if provider not in installed_providers():
        raise ProviderMissing(
            f"execution provider {provider!r} is not in the installed ONNX Runtime {ort.__version__}; "
            f"installed: {', '.join(installed_providers())}. Extra `cpu` brings openvino, `gpu` brings cuda"
        )
    if provider in ON_GPU:
        _load_cuda()
    options = ort.SessionOptions()
    options.log_severity_level = ORT_ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.add_session_config_entry(LIST_NODES, "1")
    try:
        return ort.InferenceSession(
            str(artifact.path(variant)), options, providers=list(providers), enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
        if provider == "cpu":
            raise ArtifactInvalid(f"{artifact.path(variant)}: cannot be loaded: {error}") from error
        why = _missing_library(provider) or str(error)
        if GRAPH_REFUSED in why:
            why += "; set `inference.cuda_graphs` to false"
        raise ProviderMissing(f"{provider} cannot load {artifact.path(variant)}: {why}") from error


def _load_cuda() -> None:
    """The CUDA libraries of Python packages, where there are some; the system's are found anyway."""
    with contextlib.redirect_stdout(io.StringIO()) as said:  # it prints what it did not find
        ort.preload_dlls()
    if text := said.getvalue().strip():
        log.info("CUDA libraries: %s", text)


def _missing_library(provider: str) -> str:
    """Why the provider's own library cannot be loaded: the loader names the first file that is missing.

    Only after ONNX Runtime has tried itself: its libraries must be loaded in its order. Empty: it can be,
    and the GPU or its driver is what is missing, or the provider is a part of the wheel's main library.
    """
    library = Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{provider}.so"
    try:
        if library.exists():
            ctypes.CDLL(str(library))
    except OSError as error:
        return f"{error}; {_REMEDY[provider]}" if provider in _REMEDY else str(error)
    return ""


def _check_provider(
    session: ort.InferenceSession, artifact: Artifact, provider: str, providers: Chain
) -> None:
    """ONNX Runtime falls back without a word: see what it made of the list, and of every node."""
    session.disable_fallback()
    active = session.get_providers()
    if active[0] != PROVIDERS[provider]:
        raise ProviderMissing(
            f"{provider} was asked for, but {artifact.reference} runs on {', '.join(active)}: "
            f"{_missing_library(provider) or 'no GPU that it can use; see the log of ONNX Runtime above'}"
        )
    wanted = {name for name, _ in providers}
    strays = sorted(
        {
            f"{node.op_type} on {part.ep_name}"
            for part in session.get_provider_graph_assignment_info()
            for node in part.get_nodes()
            if part.ep_name not in wanted and node.op_type not in BOOKKEEPING
        }
    )
    if strays:
        raise ProviderMissing(
            f"{provider} was asked for, but parts of {artifact.reference} fell back: {', '.join(strays)}; "
            "choose another `inference.variant` or `inference.provider`"
        )


def _nodes(session: ort.InferenceSession) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)


def _check_interface(session: ort.InferenceSession, artifact: Artifact, variant: Variant) -> None:
    """Names, types and fixed dimensions must be those of the spec; the batch must be free."""
    spec = artifact.spec
    inputs: Interface = {"clips": ("tensor(uint8)", spec.video.clip_shape)}
    if spec.audio is not None:
        inputs["log_mel"] = ("tensor(float)", (spec.audio.frames, spec.audio.mels))
        inputs["has_audio"] = ("tensor(float)", ())
    outputs: Interface = {name: ("tensor(float)", (size,)) for name, size in _output_sizes(spec).items()}
    for kind, nodes, expected in (
        ("inputs", session.get_inputs(), inputs),
        ("outputs", session.get_outputs(), outputs),
    ):
        found = {node.name: (node.type, tuple(node.shape)) for node in nodes}
        if not _agrees(found, expected):
            raise ArtifactInvalid(
                f"{artifact.path(variant)}: {kind} do not fit spec.json: expected {_show(expected)}, "
                f"found {found}; export the model again"
            )


def _output_sizes(spec: ModelSpec) -> dict[str, int]:
    """Name -> values for each clip, in the order of ``Output``."""
    return {"logits": len(spec.labels)} | ({"embedding": spec.embedding.size} if spec.embedding else {})


def _agrees(found: dict[str, tuple[str, tuple[Any, ...]]], expected: Interface) -> bool:
    """A dimension that is a name (or None) is free; the first must be."""
    if found.keys() != expected.keys():
        return False
    for name, (dtype, shape) in expected.items():
        found_dtype, found_shape = found[name]
        if found_dtype != dtype or len(found_shape) != len(shape) + 1 or isinstance(found_shape[0], int):
            return False
        if any(isinstance(f, int) and f != e for f, e in zip(found_shape[1:], shape, strict=True)):
            return False
    return True


def _show(expected: Interface) -> str:
    return str({name: (dtype, ("N", *shape)) for name, (dtype, shape) in expected.items()})


def _by_importance(max_batch_clips: int) -> list[int]:
    """1 and the largest first, then powers of two, then the rest."""
    powers = [2**i for i in range(1, max_batch_clips.bit_length()) if 2**i <= max_batch_clips]
    return list(dict.fromkeys([1, max_batch_clips, *powers, *range(1, max_batch_clips + 1)]))
