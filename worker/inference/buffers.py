"""Memory of a session on a GPU, allocated once: what a batch size reads and writes never moves.

Clips go from the caller into page-locked memory, from there in one transfer to the GPU, as uint8. Recorded
CUDA graphs need their addresses to stay; without graphs it saves allocations on every run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from worker.inference.providers import Shapes, fitting

Allocate = Callable[[tuple[int, ...], npt.DTypeLike], npt.NDArray[Any]]
Feed = Mapping[str, npt.NDArray[Any]]  # name of an input -> (N, ...)

GRAPH_ID = "gpu_graph_id"  # one recorded graph for each value (onnxruntime_run_options_config_keys.h)


class Buffers:
    """Of one session. Not thread-safe, as the session is not. ``outputs``: values for each clip."""

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: Shapes,
        outputs: Mapping[str, int],
        sizes: tuple[int, ...],
        *,
        device: str,
        allocate: Allocate,
    ) -> None:
        self._session = session
        self._sizes = sizes
        dtypes = {name: np.dtype(np.uint8 if name == "clips" else np.float32) for name in inputs}
        self._staged = {name: allocate((sizes[-1], *shape), dtypes[name]) for name, shape in inputs.items()}
        self._by_size = {size: _Bound(session, self._staged, outputs, size, device) for size in sizes}

    def run(self, feed: Feed) -> list[npt.NDArray[np.float32]]:
        """The outputs, in the order of the constructor's, as arrays of the caller's own.

        Clips are filled up to the next size by what an earlier batch has left: rows do not meet in a network.
        More clips than the largest size are run one after the other.
        """
        most = self._sizes[-1]
        starts = range(0, len(feed["clips"]), most)
        parts = [
            self._part({name: values[start : start + most] for name, values in feed.items()})
            for start in starts
        ]
        return parts[0] if len(parts) == 1 else [np.concatenate(each) for each in zip(*parts, strict=True)]

    def compute(self, clips: int) -> None:
        """The network alone, on what lies on the device: for measuring it without the way there and back."""
        self._by_size[fitting(clips, self._sizes)].compute()

    def _part(self, feed: Feed) -> list[npt.NDArray[np.float32]]:
        clips = len(feed["clips"])
        size = fitting(clips, self._sizes)
        for name, values in feed.items():
            self._staged[name][:clips] = values
        return [values[:clips] for values in self._by_size[size].run()]


class _Bound:
    """One batch size: its inputs and outputs on the device, bound to the session."""

    def __init__(
        self,
        session: ort.InferenceSession,
        staged: Feed,
        outputs: Mapping[str, int],
        size: int,
        device: str,
    ) -> None:
        self._session = session
        self._staged = {name: values[:size] for name, values in staged.items()}
        self._inputs = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(values.shape, values.dtype, device)
            for name, values in self._staged.items()
        }
        self._outputs = [
            ort.OrtValue.ortvalue_from_shape_and_type((size, width), np.float32, device)
            for width in outputs.values()
        ]
        self._binding = session.io_binding()
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in zip(outputs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(name, value)
        self._options = ort.RunOptions()
        self._options.add_run_config_entry(GRAPH_ID, str(size))

    def run(self) -> list[npt.NDArray[np.float32]]:
        for name, value in self._inputs.items():
            value.update_inplace(self._staged[name])
        self.compute()
        return [np.array(value.numpy()) for value in self._outputs]

    def compute(self) -> None:
        self._session.run_with_iobinding(self._binding, self._options)
