"""Getting the bytes of an upload: from the event itself, a file, a web server or an object store."""

from __future__ import annotations

import ssl
from pathlib import Path

from worker.clock import Clock, Deadline
from worker.errors import HostUnavailable, SourceForbidden, SourceMissing, SourceUnavailable
from worker.media.fetch_file import read_file
from worker.media.fetch_http import HttpFetcher
from worker.media.fetch_s3 import S3Fetcher
from worker.media.spool import Spool
from worker.media.types import Media
from worker.settings import FetchSettings

_LONGEST_SCHEME = 10


class MediaSource:
    """Fetches by URI. Thread-safe; ``close`` it when done."""

    def __init__(
        self,
        settings: FetchSettings,
        clock: Clock,
        ssl_context: ssl.SSLContext | None = None,
        folder: Path | None = None,
    ) -> None:
        """``ssl_context`` None: the authorities of the system and of certifi. ``folder``: see Spool."""
        self._settings = settings
        self._clock = clock
        self._folder = folder
        self._http = HttpFetcher(settings, ssl_context)
        self._s3 = S3Fetcher(settings)

    def fetch(self, uri: str, inline: bytes | None, expected_sha256: str | None, deadline: Deadline) -> Media:
        """Bring the upload into a private file. Raises SourceError or DeadlineExceeded.

        ``inline``: the media bytes that came with the event, for ``inline:``.
        """
        deadline.check("it was fetched")
        scheme, colon, _ = uri.partition(":")
        scheme = scheme.lower() if colon else ""
        slow = HostUnavailable if scheme in ("https", "http") else SourceUnavailable
        settings = self._settings
        with Spool(settings.max_bytes, settings.total_timeout_s, deadline, slow, self._folder) as spool:
            match scheme:
                case "inline":
                    if inline is None:
                        raise SourceMissing("the uri is inline:, but the event carries no media bytes")
                    spool.write(inline)
                case "file":
                    read_file(uri, settings.file_roots, spool)
                case "https" | "http":
                    self._http.fetch(uri, spool)
                case "s3":
                    self._s3.fetch(uri, spool)
                case _:
                    accepted = "s3://, https://, file:// or inline:"
                    raise SourceForbidden(f"uploads may come from {accepted}, not from {_shown(scheme)}")
            return spool.finish(expected_sha256)

    def keys_below(self, uri: str) -> list[str]:
        """What is in ``s3://bucket/folder``, by key without the folder's own. Raises SourceError."""
        return self._s3.keys_below(uri)

    def close(self) -> None:
        self._s3.close()


def _shown(scheme: str) -> str:
    """Nothing else of a URI, which may hold credentials; and of a scheme only what can be one."""
    known = scheme.isascii() and scheme.isalnum() and len(scheme) <= _LONGEST_SCHEME
    return f"{scheme}:" if known else "a URI without a valid scheme"
