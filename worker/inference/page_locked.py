"""Host memory that a GPU reads by itself: pageable memory is first copied into a small buffer of the driver.

ONNX Runtime's Python API allocates none, so the CUDA runtime that it has loaded is asked
(``cudaHostRegister``, CUDA Runtime API, section Memory Management).
"""

from __future__ import annotations

import ctypes
import math
import mmap
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.errors import ProviderMissing

LOADED = Path("/proc/self/maps")
_RUNTIME = re.compile(r"(/\S*/libcudart[^/\s]*\.so[^/\s]*)$", re.MULTILINE)
_DEFAULT_FLAGS = 0


def page_locked(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros in memory that is locked as long as the array lives. Raises ProviderMissing without CUDA."""
    runtime = _cuda_runtime(LOADED.read_text())
    # Whole pages of its own: two registered ranges must not share a page.
    memory = mmap.mmap(-1, max(1, math.prod(shape) * np.dtype(dtype).itemsize))
    array = np.frombuffer(memory, dtype, math.prod(shape))
    address = ctypes.c_void_p(array.ctypes.data)
    if code := runtime.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), _DEFAULT_FLAGS):
        raise ProviderMissing(f"CUDA cannot lock {array.nbytes} bytes of host memory: cudaError {code}")
    weakref.finalize(array, runtime.cudaHostUnregister, address).atexit = False  # the driver is gone then
    return array.reshape(shape)


def _cuda_runtime(maps: str) -> Any:
    """``maps``: the text of /proc/self/maps."""
    found = _RUNTIME.search(maps)
    if found is None:
        raise ProviderMissing("the CUDA runtime (libcudart) is not loaded: is the CUDA provider in use?")
    return ctypes.CDLL(found.group(1))
