"""What a decoder process gives up before it is handed the first upload.

Two layers, neither of which leans on the other:

    Landlock   no file, folder, device or TCP port can be opened any more; no signal and no abstract
               socket reaches out of the process (https://docs.kernel.org/userspace-api/landlock.html)
    seccomp    only the system calls that decoding needs, so no socket, no program, no other process
               (https://docs.kernel.org/userspace-api/seccomp_filter.html)

What was open before stays open: the worker's socket, and the descriptors that come through it. Neither can
be taken back by the process, and threads that it starts inherit both.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import resource
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

Layer = str

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_SECCOMP_GET_ACTION_AVAIL = 2
_SYS_SECCOMP = 317
_SYS_LANDLOCK_CREATE_RULESET, _SYS_LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1

_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many there are, by version of Landlock; later: 16
_TCP_BIND_AND_CONNECT = 0b11  # from version 4
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11  # from version 6


class _Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr; older kernels take it where the later fields are zero."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def missing() -> dict[Layer, str]:
    """Which layers this machine does not have, and why. Only asks: the calling process stays as it is."""
    found = {}
    for layer, (is_there, _) in _LAYERS.items():
        try:
            is_there()
        except OSError as error:
            found[layer] = error.strerror or str(error)
    return found


def layers() -> tuple[Layer, ...]:
    """Those that this machine has, in the order in which they must be put on."""
    absent = missing()
    return tuple(layer for layer in _LAYERS if layer not in absent)


def confine(chosen: Iterable[Layer]) -> None:
    """Put these layers on the calling thread, for good. Raises OSError where one does not hold."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for layer in chosen:
        _LAYERS[layer][1]()


# Landlock


def _landlock_version() -> int:
    return _call("syscall", _SYS_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)


def _forbid_files() -> None:
    """A ruleset that governs everything its version knows, and permits nothing of it."""
    version = _landlock_version()
    rules = _Ruleset(
        (1 << _FILE_RIGHTS.get(version, 16)) - 1,
        _TCP_BIND_AND_CONNECT if version >= 4 else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0,
    )
    ruleset = _call("syscall", _SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0)
    try:
        _call("syscall", _SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


# seccomp


class _Condition(NamedTuple):
    """Holds where ``argument & mask == value``, in the lower 32 bits."""

    argument: int
    mask: int
    value: int


_ANY = 0xFFFF_FFFF
_CLONE_THREAD = 0x0001_0000
_AT_EMPTY_PATH = 0x1000

# By their numbers on x86-64, from asm/unistd_64.h of Linux.
_ALLOWED = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "munmap": 11, "brk": 12, "rt_sigaction": 13,
    "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "pwrite64": 18, "writev": 20, "sched_yield": 24,
    "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44, "recvmsg": 47, "exit": 60,
    "ftruncate": 77, "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "sigaltstack": 131, "gettid": 186,
    "futex": 202, "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228,
    "clock_nanosleep": 230, "exit_group": 231, "set_robust_list": 273, "getrandom": 318, "rseq": 334,
}  # fmt: skip
_MMAP, _MPROTECT, _CLONE, _FCNTL, _TGKILL, _NEWFSTATAT, _PRLIMIT64 = 9, 10, 56, 72, 234, 262, 302
_CLONE3 = 435


def _conditions() -> Mapping[int, tuple[_Condition, ...]]:
    """Of calls that do more than decoding needs."""
    no_code = _Condition(2, mmap.PROT_EXEC, 0)  # but that which is there
    itself = _Condition(0, _ANY, 0)
    return {
        _MMAP: (no_code,),
        _MPROTECT: (no_code,),
        _CLONE: (_Condition(0, _CLONE_THREAD, _CLONE_THREAD),),  # threads, not processes
        _FCNTL: (_Condition(1, _ANY, fcntl.F_DUPFD_CLOEXEC),),  # mmap.mmap does it
        _TGKILL: (_Condition(0, _ANY, os.getpid()),),  # abort()
        _NEWFSTATAT: (_Condition(3, _AT_EMPTY_PATH, _AT_EMPTY_PATH),),  # fstat() of glibc 2.33 to 2.38
        _PRLIMIT64: (itself, _Condition(1, _ANY, resource.RLIMIT_CPU)),  # for each job
    }


_ARCHITECTURE_X86_64 = 0xC000_003E
_ALLOW, _KILL, _ERROR = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # of classic BPF, on 32-bit words
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # places in struct seccomp_data


def _program() -> bytes:
    """What the kernel runs at each system call. Another architecture's numbers would mean other calls."""
    return b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, _ARCHITECTURE),
            (_JUMP_IF_EQUAL, 1, 0, _ARCHITECTURE_X86_64),
            (_RETURN, 0, 0, _KILL),
            (_LOAD, 0, 0, _NUMBER),
            *_instructions(),
            (_RETURN, 0, 0, _ERROR | errno.EPERM),
        )
    )


def _instructions() -> Iterator[tuple[int, int, int, int]]:
    """(operation, instructions to skip if it holds, if not, operand)"""
    for number in _ALLOWED.values():
        yield _JUMP_IF_EQUAL, 0, 1, number
        yield _RETURN, 0, 0, _ALLOW
    for number, conditions in _conditions().items():
        yield _JUMP_IF_EQUAL, 0, 4 * len(conditions) + 1, number
        for condition in conditions:
            yield _LOAD, 0, 0, _ARGUMENTS + 8 * condition.argument
            yield _AND, 0, 0, condition.mask
            yield _JUMP_IF_EQUAL, 1, 0, condition.value
            yield _RETURN, 0, 0, _ERROR | errno.EPERM
        yield _RETURN, 0, 0, _ALLOW
    # Its flags lie in memory, where no filter can look. glibc takes clone where it does not exist.
    yield _JUMP_IF_EQUAL, 0, 1, _CLONE3
    yield _RETURN, 0, 0, _ERROR | errno.ENOSYS


def _seccomp_is_there() -> None:
    if platform.machine() != "x86_64":
        raise OSError(f"the list of system calls is for x86_64, this is {platform.machine()}")
    action = ctypes.c_uint32(_KILL)
    _call("syscall", _SYS_SECCOMP, _SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(action))


def _forbid_calls() -> None:
    program = _program()
    filtered = _Program(len(program) // struct.calcsize("HBBI"), program)
    _call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filtered), 0, 0)


# Landlock first: seccomp forbids to ask for more.
_LAYERS: Mapping[Layer, tuple[Callable[[], object], Callable[[], None]]] = {
    "landlock": (_landlock_version, _forbid_files),
    "seccomp": (_seccomp_is_there, _forbid_calls),
}


def _call(function: str, *arguments: object) -> int:
    """A function of the C library. Raises OSError."""
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    answer = int(getattr(ctypes.CDLL(None, use_errno=True), function)(*wide))
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer
