"""A network of two hosts: brokers on this side, a worker on the other, and a line that can be cut."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.drills.faults import is_root

NEAR = "10.213.87.1"
FAR = "10.213.87.2"
CLONE_NEWNET = 0x40000000
START_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Network:
    holder_pid: int  # of the process that keeps the far namespace alive
    far_end: str  # the name of its interface

    @contextmanager
    def far(self) -> Iterator[None]:
        """What this thread connects to, and what it starts, is on the far host."""
        with Path("/proc/thread-self/ns/net").open() as home:
            with Path(f"/proc/{self.holder_pid}/ns/net").open() as away:
                _enter(away.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Packets of either direction vanish; no connection is closed."""
        rules = (("INPUT", "-i"), ("OUTPUT", "-o"))
        for chain, direction in rules:
            self._at_far_end("iptables", "-A", chain, direction, self.far_end, "-j", "DROP")
        try:
            yield
        finally:
            for chain, direction in rules:
                self._at_far_end("iptables", "-D", chain, direction, self.far_end, "-j", "DROP")

    def _at_far_end(self, *command: str) -> None:
        _run("nsenter", f"--net=/proc/{self.holder_pid}/ns/net", *command)


def why_not() -> str:
    """What is missing for a network of one's own; empty: nothing."""
    if not is_root():
        return "needs root"
    missing = [
        tool for tool in ("ip", "iptables", "nsenter", "setpriv", "unshare") if shutil.which(tool) is None
    ]
    return f"needs {', '.join(missing)}" if missing else ""


@contextmanager
def connected() -> Iterator[Network]:
    """Needs root, iproute2 and iptables. The namespace and both interfaces go with the holder."""
    near_end, far_end = f"drill{os.getpid() % 10**7}a", f"drill{os.getpid() % 10**7}b"
    ends_with_us = ("setpriv", "--pdeathsig", "KILL")
    holder = subprocess.Popen(
        [*ends_with_us, "unshare", "--net", "sleep", "infinity"], start_new_session=True
    )
    try:
        _wait_for_namespace(holder.pid)
        network = Network(holder.pid, far_end)
        _run(
            *("ip", "link", "add", near_end, "type", "veth"),
            *("peer", "name", far_end, "netns", str(holder.pid)),
        )
        _run("ip", "address", "add", f"{NEAR}/30", "dev", near_end)
        _run("ip", "link", "set", near_end, "up")
        network._at_far_end("ip", "address", "add", f"{FAR}/30", "dev", far_end)
        network._at_far_end("ip", "link", "set", far_end, "up")
        network._at_far_end("ip", "link", "set", "lo", "up")
        yield network
    finally:
        holder.kill()
        holder.wait()


def _wait_for_namespace(pid: int) -> None:
    ours = os.readlink("/proc/self/ns/net")
    give_up_s = time.monotonic() + START_TIMEOUT_S
    while os.readlink(f"/proc/{pid}/ns/net") == ours:
        if time.monotonic() > give_up_s:
            raise RuntimeError("unshare --net made no network namespace")
        time.sleep(0.02)


def _enter(descriptor: int) -> None:
    """Only the calling thread moves (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
