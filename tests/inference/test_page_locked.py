"""Against a stand-in for the CUDA runtime, which no machine without a GPU has."""

from __future__ import annotations

import gc
import mmap
from pathlib import Path

import numpy as np
import pytest

from worker.errors import ProviderMissing
from worker.inference import page_locked as module
from worker.inference.page_locked import page_locked


class Runtime:
    """Notes which addresses are locked; ``code`` is what locking answers."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.locked: dict[int, int] = {}

    def cudaHostRegister(self, address: object, size: object, flags: int) -> int:  # noqa: N802
        self.locked[address.value] = size.value  # type: ignore[attr-defined]
        return self.code

    def cudaHostUnregister(self, address: object) -> int:  # noqa: N802
        del self.locked[address.value]  # type: ignore[attr-defined]
        return 0


def test_memory_is_locked_as_long_as_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime()
    monkeypatch.setattr(module, "_cuda_runtime", lambda maps: runtime)
    array = page_locked((2, 3), np.float32)
    assert array.shape == (2, 3)
    assert array.dtype == np.float32
    assert not array.any()
    assert runtime.locked == {array.ctypes.data: 24}
    assert array.ctypes.data % mmap.PAGESIZE == 0
    part = array[:1]
    part[:] = 7
    del array
    gc.collect()
    assert len(runtime.locked) == 1
    del part
    gc.collect()
    assert runtime.locked == {}


def test_memory_that_cannot_be_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cuda_runtime", lambda maps: Runtime(code=2))
    with pytest.raises(ProviderMissing, match="cannot lock 12 bytes of host memory: cudaError 2"):
        page_locked((3,), np.float32)


def test_a_process_without_the_cuda_runtime() -> None:
    with pytest.raises(ProviderMissing, match=r"the CUDA runtime \(libcudart\) is not loaded"):
        page_locked((3,), np.float32)


def test_the_runtime_is_the_one_that_the_process_has_loaded(tmp_path: Path) -> None:
    library = tmp_path / "libcudart.so.13"
    library.write_bytes(b"no library")
    maps = f"7f00-7f01 r-xp 00000000 08:01 1   /lib/libc.so.6\n7f02-7f03 r-xp 00000000 08:01 2   {library}\n"
    with pytest.raises(OSError, match=r"libcudart.so.13: file too short|invalid ELF header"):
        module._cuda_runtime(maps)
