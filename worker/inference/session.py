"""One model on one execution provider, proved to run there. The only file that imports ONNX Runtime."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from models.spec import ModelSpec, Variant
from worker.errors import ArtifactInvalid, ProviderMissing
from worker.inference.registry import Artifact, verify
from worker.inference.types import Inputs, Output, blank_inputs

# Setting -> ONNX Runtime's name, best first: the order in which ``auto`` tries them.
PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

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

Interface = dict[str, tuple[str, tuple[int, ...]]]  # name -> type, dimensions after the batch
LIST_NODES = "session.record_ep_graph_assignment_info"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Warmth:
    """What warming up found: every batch size has its own compiled form on some providers."""

    first_s: dict[int, float]  # batch size -> first run, compilation included
    total_s: float


class Session:
    """A Runner over ONNX Runtime. Not thread-safe: its engine's owner thread has it to itself."""

    def __init__(self, artifact: Artifact, variant: Variant, provider: str, threads: int) -> None:
        self.artifact = artifact
        self.variant = variant
        self.provider = provider
        self._spec = artifact.spec
        self._session = _create(artifact, variant, provider, threads)
        _check_provider(self._session, artifact, provider)
        _check_interface(self._session, artifact, variant)
        self._input_names = frozenset(node.name for node in self._session.get_inputs())

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def run(self, inputs: Inputs) -> Output:
        feed: dict[str, Any] = {"clips": np.ascontiguousarray(inputs.clips)}
        if "log_mel" in self._input_names:
            feed["log_mel"] = inputs.log_mel
            feed["has_audio"] = inputs.has_audio
        sizes = _output_sizes(self._spec)
        found = [np.asarray(each, np.float32) for each in self._session.run(list(sizes), feed)]
        for (name, size), values in zip(sizes.items(), found, strict=True):
            if values.shape != (len(inputs), size) or not np.isfinite(values).all():
                raise ValueError(f"{name} {values.shape} must be finite and have shape {(len(inputs), size)}")
        return Output(*found)

    def warm_up(self, max_batch_clips: int, budget_s: float = 3.0) -> Warmth:
        """Run every batch size once, the most used ones first, until the time is used up.

        Measured with OpenVINO (2 cores, slim INT8 filter): the first run of a size takes 20-60 ms more
        than the later ones, after which its form is kept. Padding to a few sizes would cost more than
        it saves, so sizes are served as they come and those that start-up had no time for pay once.
        """
        started_s = time.perf_counter()
        first_s: dict[int, float] = {}
        for clips in _by_importance(max_batch_clips):
            run_started_s = time.perf_counter()
            if first_s and run_started_s - started_s > budget_s:
                break
            self.run(blank_inputs(self._spec, clips))
            first_s[clips] = time.perf_counter() - run_started_s
        return Warmth(first_s, time.perf_counter() - started_s)


def open_session(
    artifact: Artifact, *, provider: str = "auto", variant: str = "", threads: int = 0
) -> Session:
    """Verify the files and load them. ``auto``: the best provider that is installed and really runs.

    Raises ArtifactInvalid, or ProviderMissing naming what is installed.
    """
    if provider != "auto":
        return _open(artifact, provider, variant, threads)
    refused: list[str] = []
    for name in installed_providers():
        try:
            return _open(artifact, name, variant, threads)
        except ProviderMissing as error:
            log.warning("%s is installed and does not run: %s", name, error)
            refused.append(str(error))
    raise ProviderMissing(f"no execution provider runs {artifact.reference}: {'; '.join(refused)}")


def installed_providers() -> tuple[str, ...]:
    """The providers of the installed wheel, best first. That one is listed does not mean that it runs."""
    available = set(ort.get_available_providers())
    return tuple(name for name, ort_name in PROVIDERS.items() if ort_name in available)


def runtime_version() -> str:
    return str(ort.__version__)


def _open(artifact: Artifact, provider: str, variant_name: str, threads: int) -> Session:
    variant = artifact.variant(variant_name, provider)
    verify(artifact, variant)
    return Session(artifact, variant, provider, threads)


def _create(artifact: Artifact, variant: Variant, provider: str, threads: int) -> ort.InferenceSession:
    if provider not in installed_providers():
        raise ProviderMissing(
            f"execution provider {provider!r} is not in the installed ONNX Runtime {ort.__version__}; "
            f"installed: {', '.join(installed_providers())}. Extra `cpu` brings openvino, `gpu` brings cuda"
        )
    options = ort.SessionOptions()
    options.log_severity_level = ORT_ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.add_session_config_entry(LIST_NODES, "1")
    try:
        return ort.InferenceSession(
            str(artifact.path(variant)), options, providers=list(_chain(provider, threads))
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
        if provider == "cpu":
            raise ArtifactInvalid(f"{artifact.path(variant)}: cannot be loaded: {error}") from error
        raise ProviderMissing(f"{provider} cannot load {artifact.path(variant)}: {error}") from error


def _chain(provider: str, threads: int) -> Iterable[tuple[str, dict[str, str]]]:
    """TensorRT hands what it has no kernel for to CUDA: both are the GPU that was asked for."""
    options = {"num_of_threads": str(threads)} if provider == "openvino" and threads else {}
    yield PROVIDERS[provider], options
    if provider == "tensorrt":
        yield PROVIDERS["cuda"], {}


def _check_provider(session: ort.InferenceSession, artifact: Artifact, provider: str) -> None:
    """ONNX Runtime falls back without a word: see what it made of the list, and of every node."""
    session.disable_fallback()
    active = session.get_providers()
    if active[0] != PROVIDERS[provider]:
        raise ProviderMissing(
            f"{provider} was asked for, but {artifact.reference} runs on {', '.join(active)}: "
            "its driver or libraries are missing; see the log of ONNX Runtime above"
        )
    wanted = {name for name, _ in _chain(provider, 0)}
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
