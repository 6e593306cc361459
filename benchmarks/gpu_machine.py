"""What nvidia-smi says of the GPU; nothing where there is none."""

from __future__ import annotations

import subprocess


def gpu() -> dict[str, str]:
    """Name, memory and driver of the first GPU."""
    keys = ("name", "memory.total", "driver_version")
    return dict(zip(keys, _asked(keys), strict=False))


def used_mib() -> int:
    """Memory in use on the first GPU, by whatever process; 0 without one."""
    return int((_asked(("memory.used",)) or ["0"])[0].split()[0])


def _asked(keys: tuple[str, ...]) -> list[str]:
    command = ["nvidia-smi", f"--query-gpu={','.join(keys)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return [value.strip() for value in done.stdout.split(",")]
