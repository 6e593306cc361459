"""``file://`` under the roots that the settings allow."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker.errors import SourceError, SourceForbidden, SourceMissing, SourceUnavailable
from worker.media.spool import CHUNK_BYTES, Spool

# What an uploader can bring about by naming a path. Anything else is the store's own failure.
_ERRORS: dict[int, type[SourceError]] = {
    errno.ENOENT: SourceMissing,
    errno.ENOTDIR: SourceMissing,
    errno.ENAMETOOLONG: SourceMissing,
    errno.ENXIO: SourceForbidden,
    errno.EISDIR: SourceForbidden,
    errno.ELOOP: SourceForbidden,
    errno.EACCES: SourceForbidden,
    errno.EPERM: SourceForbidden,
}


def read_file(uri: str, roots: Sequence[Path], spool: Spool) -> None:
    path = _path_of(uri)
    resolved_roots = [os.path.realpath(root) for root in roots]
    try:
        # Looked at before it is opened (opening a device can do something) ...
        _require_inside(os.path.realpath(path), resolved_roots, path)
        # without waiting for the other end of a pipe ...
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb", buffering=0) as file:
            # ... and again on what was opened: links may have been changed in between.
            _require_inside(os.readlink(f"/proc/self/fd/{descriptor}"), resolved_roots, path)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SourceForbidden(f"{path!r} is not a regular file")
            spool.expect(status.st_size)
            while chunk := file.read(CHUNK_BYTES):
                spool.write(chunk)
    except OSError as error:
        raised = _ERRORS.get(error.errno or 0, SourceUnavailable)
        raise raised(f"cannot read {path!r}: {error.strerror}") from error
    except UnicodeError as error:  # a lone surrogate
        raise SourceForbidden("the path of the file:// uri cannot be a file's name") from error


def _path_of(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:
        # The reason would quote what stands where a host does, credentials included.
        raise SourceForbidden("the file:// uri is not a valid URI") from None
    if parts.netloc not in ("", "localhost"):
        raise SourceForbidden("file:// reads local files only: write file:///path, without a host")
    if parts.query or parts.fragment:
        raise SourceForbidden("a file:// uri has no query or fragment; write ? as %3F and # as %23")
    path = unquote(parts.path)
    if "\0" in path or not path.startswith("/"):
        raise SourceForbidden(f"a file:// uri must name an absolute path, got {path!r}")
    return path


def _require_inside(real_path: str, roots: Sequence[str], asked_for: str) -> None:
    for root in roots:
        if os.path.commonpath([real_path, root]) == root:
            return
    raise SourceForbidden(f"{asked_for!r} is not inside a folder of fetch.file_roots")
