"""Stops one thread of another process, as if it hung in a call that never returns.

    python -m tests.drills.tracer THREAD_ID

The thread goes on when standard input is closed. A process of its own, because whoever traces a child is
told of its stops where others wait for its end. See ptrace(2).
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

PTRACE_DETACH = 17
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WAIT_FOR_THREADS = 0x40000000  # __WALL
STOPPED = "stopped"


def main() -> None:
    thread_id = int(sys.argv[1])
    _ptrace(PTRACE_SEIZE, thread_id)
    _ptrace(PTRACE_INTERRUPT, thread_id)
    os.waitpid(thread_id, WAIT_FOR_THREADS)
    print(STOPPED, flush=True)
    sys.stdin.read()
    with suppress(ProcessLookupError):  # it may have been killed meanwhile
        _ptrace(PTRACE_DETACH, thread_id)


def _ptrace(request: int, thread_id: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread_id, None, None) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace request {request:#x} to thread {thread_id}: {os.strerror(error)}")


if __name__ == "__main__":
    main()
