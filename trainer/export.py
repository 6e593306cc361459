"""ONNX out of torch, and the proof that both compute the same."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from torch import nn

from trainer.data.batch import Batch
from trainer.embedding import with_embedding

OPSET = 18  # loaded by every ONNX Runtime of the extras, and by the OpenVINO in theirs
OUTPUT = "logits"
EMBEDDING = "embedding"  # a second output, of networks that were exported with it
REFERENCE_PROVIDER = "CPUExecutionProvider"
CPU_PROVIDERS = {"openvino": "OpenVINOExecutionProvider", "cpu": REFERENCE_PROVIDER}  # the fastest first

Feed = Mapping[str, npt.NDArray[np.generic]]


class GateClosed(Exception):
    """An artifact that is not good enough to be written; the message says what was measured."""


def feed(batch: Batch) -> Feed:
    """A batch as ONNX Runtime takes it."""
    return {name: tensor.numpy() for name, tensor in batch.inputs.items()}


def export_onnx(network: nn.Module, example: Batch, path: Path, *, embedding: bool = False) -> None:
    """Write the network with a dynamic number of clips. ``example`` holds two clips or more.

    With ``embedding`` the file has a second output, (N, features) of length 1 (``trainer.embedding``).
    """
    count = torch.export.Dim("clips", min=1, max=4096)
    # It tells, each time, of operators of packages that are not installed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        torch.onnx.export(
            with_embedding(network) if embedding else network.eval(),
            tuple(example.inputs.values()),
            path,
            input_names=list(example.inputs),
            output_names=[OUTPUT, EMBEDDING] if embedding else [OUTPUT],
            dynamic_shapes=tuple({0: count} for _ in example.inputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    _strip_traces(path)


def _strip_traces(path: Path) -> None:
    """Without the source lines and folders that the exporter notes beside every node."""
    model = onnx.load(path)
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, path)


def session(path: Path, provider: str = REFERENCE_PROVIDER, threads: int = 2) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # OpenVINO has its own setting for the threads, as serving knows.
    own = {"num_of_threads": str(threads)} if provider.startswith("OpenVINO") else {}
    return ort.InferenceSession(str(path), options, providers=[(provider, own)])


def installed_providers() -> tuple[str, ...]:
    """Those for this CPU, the fastest first."""
    available = ort.get_available_providers()
    return tuple(name for name in CPU_PROVIDERS.values() if name in available)


def fastest_provider() -> str:
    """The one that serves."""
    return installed_providers()[0]


def onnx_logits(
    path: Path, feeds: Iterable[Feed], provider: str | None = None
) -> list[npt.NDArray[np.float32]]:
    """(N, L) for each feed, by the provider that serves if none is named; of exits, the last one's."""
    outputs = _outputs(path, feeds, fastest_provider() if provider is None else provider)
    return [logits if logits.ndim == 2 else logits[:, -1] for logits in outputs]


def embedding_size(path: Path) -> int | None:
    """Length of the file's embeddings; None for a file without them."""
    outputs = {output.name: output for output in onnx.load(path, load_external_data=False).graph.output}
    if EMBEDDING not in outputs:
        return None
    return int(outputs[EMBEDDING].type.tensor_type.shape.dim[1].dim_value)


def onnx_embeddings(
    path: Path, feeds: Sequence[Feed], provider: str | None = None
) -> list[npt.NDArray[np.float32]]:
    """(N, E) for each feed, by the provider that serves if none is named, of a file that has them."""
    return _outputs(path, feeds, fastest_provider() if provider is None else provider, EMBEDDING)


def _outputs(
    path: Path, feeds: Iterable[Feed], provider: str = REFERENCE_PROVIDER, output: str = OUTPUT
) -> list[npt.NDArray[np.float32]]:
    runner = session(path, provider)
    return [np.asarray(runner.run([output], dict(each))[0], np.float32) for each in feeds]


def check_parity(network: nn.Module, path: Path, batches: Sequence[Batch], tolerance: float) -> float:
    """Largest difference of logits between torch and the file; of embeddings too, if the file has them.

    Raises GateClosed above ``tolerance``.
    """
    feeds = [feed(batch) for batch in batches]
    worst = _check(OUTPUT, network.eval(), path, batches, feeds, tolerance)
    if embedding_size(path) is not None:
        _check(EMBEDDING, with_embedding(network), path, batches, feeds, tolerance)
    return worst


def _check(
    output: str,
    network: nn.Module,
    path: Path,
    batches: Sequence[Batch],
    feeds: Sequence[Feed],
    allowed: float,
) -> float:
    with torch.inference_mode():
        answers = [network(*batch.inputs.values()) for batch in batches]
    expected = [(answer[1] if output == EMBEDDING else answer).numpy() for answer in answers]
    actual = _outputs(path, feeds, output=output)
    worst = max(float(np.abs(e - a).max()) for e, a in zip(expected, actual, strict=True))
    if not worst <= allowed:
        raise GateClosed(f"{path.name}: {output} differ from torch by {worst:.2e}, allowed is {allowed:.0e}")
    return worst
