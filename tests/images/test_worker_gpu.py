"""The image with CUDA, on a machine without a GPU: all is in it but the driver, and it says so."""

from __future__ import annotations

import re

import pytest

from tests.containers.images import TAGS, WORKER_GPU
from tests.images.run import run

pytestmark = [pytest.mark.containers, pytest.mark.slow, pytest.mark.timeout(300)]

IMAGE = TAGS[WORKER_GPU]
PACKAGES = "/opt/sluice/site-packages"
LOADED_BY_NAME = ("libcudnn.so.9", "libnvrtc.so.13", "libnvJitLink.so.13", "libcufft.so.12")
OF_THE_DRIVER = re.compile(r"lib(cuda|nvidia-[a-z0-9]+)\.so\.1")


def in_shell(script: str, *options: str) -> str:
    code, output = run(IMAGE, "-euc", script, entrypoint="sh", options=options)
    assert code == 0, output
    return output


def test_every_library_that_is_linked_resolves_but_the_driver_s() -> None:
    """What the CUDA provider links, and what the libraries in NVIDIA's wheels link in turn."""
    listed = in_shell(
        f"for file in {PACKAGES}/onnxruntime/capi/libonnxruntime_providers_cuda.so "
        f"$(find {PACKAGES}/nvidia -name '*.so*' -type f); do echo \"$file:\"; ldd $file; done"
    )
    assert f"libcublasLt.so.13 => {PACKAGES}/nvidia/" in listed
    assert listed.count("/libcudnn") > 1
    absent = set(re.findall(r"(\S+) => not found", listed))
    assert not {name for name in absent if not OF_THE_DRIVER.fullmatch(name)}


def test_every_library_that_is_loaded_by_name_is_found() -> None:
    program = f"import ctypes; [ctypes.CDLL(name) for name in {LOADED_BY_NAME}]"
    in_shell(f'python -c "{program}"')


def test_it_imports_and_has_the_provider() -> None:
    program = "import onnxruntime; print(onnxruntime.get_available_providers())"
    assert "CUDAExecutionProvider" in in_shell(f"python -c '{program}'")
    assert "traces" in in_shell(
        "python -c 'import opentelemetry.exporter.otlp.proto.http; print(\"traces\")'"
    )


@pytest.mark.parametrize("provider", ["cuda", "auto"])
def test_without_a_gpu_it_ends_and_says_what_is_missing(provider: str) -> None:
    code, output = run(IMAGE, "worker", options=("-e", f"SLUICE_INFERENCE__PROVIDER={provider}"))
    assert code == 1, output
    assert "provider_missing" in output
    assert "install the NVIDIA driver" in output
