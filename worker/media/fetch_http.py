"""``https://``, and ``http://`` where the settings allow it.

Every wait is bounded by what is left of the whole fetch, in each phase: a server that sends one byte
at a time gains nothing. Redirects are followed here, each one checked like the first address.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import certifi
import httpcore
import httpx

from worker.clock import Deadline
from worker.errors import HostUnavailable, SourceError, SourceForbidden, SourceMissing
from worker.media.addresses import Resolver
from worker.media.spool import Spool
from worker.settings import FetchSettings

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MISSING = frozenset({404, 410})
_RETRY_LATER = frozenset({408, 425, 429})
_HEADERS: dict[bytes | str, bytes | str] = {
    "Accept-Encoding": "identity",
    "User-Agent": "sluice",
    "Accept": "*/*",
}

_ERRORS: tuple[tuple[type[Exception], type[SourceError], str], ...] = (
    (httpcore.TimeoutException, HostUnavailable, "did not answer in time"),
    (httpcore.NetworkError, HostUnavailable, "cannot be reached or broke off"),
    (httpcore.ProtocolError, HostUnavailable, "does not speak proper HTTP"),
    (ssl.SSLError, HostUnavailable, "failed in TLS"),
    (httpx.InvalidURL, SourceForbidden, "is not a valid URL"),
    (UnicodeError, SourceForbidden, "has a host name that is not valid"),  # idna's errors are of this kind
)


class HttpFetcher:
    def __init__(self, settings: FetchSettings, ssl_context: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._ssl_context = ssl_context or _default_ssl_context()
        self._resolver = Resolver(settings.allow_private_addresses)

    def fetch(self, uri: str, spool: Spool) -> None:
        with _foreign_errors(spool):
            url = self._checked(httpx.URL(uri))
            for _ in range(self._settings.max_redirects + 1):
                target = self._get(url, spool)
                if target is None:
                    return
                url = self._checked(url.join(target))
        raise SourceForbidden(
            f"more redirects than fetch.max_redirects = {self._settings.max_redirects}, "
            f"the last one to host {url.host!r}"
        )

    def _checked(self, url: httpx.URL) -> httpx.URL:
        if url.scheme not in ("https", "http") or (url.scheme == "http" and not self._settings.allow_http):
            raise SourceForbidden(
                f"{url.scheme[:20]}:// is not allowed; fetch.allow_http permits plain http://"
            )
        if url.userinfo:
            raise SourceForbidden("credentials in a URL are not allowed; sign the URL or use s3://")
        if not url.host or "%" in url.host or not 0 < (url.port or 443) < 65536:
            raise SourceForbidden(f"the URL names no valid host and port: {url.host[:100]!r}, {url.port}")
        return url.copy_with(fragment=None)

    def _get(self, url: httpx.URL, spool: Spool) -> str | None:
        """Stream into ``spool``, or return where the server redirects to."""
        settings = self._settings
        backend = _CheckedBackend(self._resolver, settings.connect_timeout_s, spool.until)
        timeouts = {
            "connect": settings.connect_timeout_s,
            "read": settings.read_timeout_s,
            "write": settings.read_timeout_s,
        }
        with (
            httpcore.ConnectionPool(ssl_context=self._ssl_context, network_backend=backend) as pool,
            pool.stream(
                "GET",
                _core_url(url),
                headers={"Host": _host(url), **_HEADERS},
                extensions={"timeout": timeouts},
            ) as response,
        ):
            headers = httpx.Headers(response.headers)
            if response.status in _REDIRECTS and "location" in headers:
                return headers["location"]
            _require_success(response.status, url.host)
            _require_identity(headers, url.host)
            spool.expect(_content_length(headers))
            for chunk in response.iter_stream():
                spool.write(chunk)
            return None


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _host(url: httpx.URL) -> str:
    return url.netloc.decode("ascii")


def _require_success(status: int, host: str) -> None:
    if status == 200:
        return
    if status in _MISSING:
        raise SourceMissing(f"host {host!r} answered {status}: there is nothing at the URL")
    if status in _RETRY_LATER or status >= 500:
        raise HostUnavailable(f"host {host!r} answered {status}")
    raise SourceForbidden(f"host {host!r} answered {status}, expected 200")


def _require_identity(headers: httpx.Headers, host: str) -> None:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise SourceForbidden(
            f"host {host!r} sends content-encoding {encoding[:20]!r}, which was not asked for"
        )


def _content_length(headers: httpx.Headers) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else None


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects to addresses that were checked, and lets no operation outlast the fetch."""

    def __init__(self, resolver: Resolver, connect_timeout_s: float, until: Deadline) -> None:
        self._resolver = resolver
        self._connect_timeout_s = connect_timeout_s
        self._until = until
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout_s = _bounded(self._connect_timeout_s, self._until)
        failure: Exception = httpcore.ConnectError(f"no address for {host}")
        for address in self._resolver.resolve(host, port, timeout_s):
            try:
                timeout_s = _bounded(self._connect_timeout_s, self._until)
                stream = self._sockets.connect_tcp(address, port, timeout_s, local_address, socket_options)
                return _BoundedStream(stream, self._until)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _BoundedStream(httpcore.NetworkStream):
    """Passes on to ``stream``, with time-outs no longer than what is left."""

    def __init__(self, stream: httpcore.NetworkStream, until: Deadline) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _bounded(timeout, self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _bounded(timeout, self._until))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        timeout_s = _bounded(timeout, self._until)
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, timeout_s), self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _bounded(timeout_s: float | None, until: Deadline) -> float:
    remaining_s = until.remaining_s
    if remaining_s <= 0:
        raise httpcore.ReadTimeout("the time for the whole fetch is used up")
    return remaining_s if timeout_s is None else min(timeout_s, remaining_s)


def _default_ssl_context() -> ssl.SSLContext:
    context = ssl.create_default_context()  # the system's authorities, or SSL_CERT_FILE
    context.load_verify_locations(certifi.where())
    return context


@contextmanager
def _foreign_errors(spool: Spool) -> Iterator[None]:
    try:
        yield
    except tuple(theirs for theirs, _, _ in _ERRORS) as error:
        spool.check_time()  # a time-out may be that of the upload
        ours, what = next((ours, what) for theirs, ours, what in _ERRORS if isinstance(error, theirs))
        if ours is SourceForbidden:  # these quote the URL, in which credentials may stand at any place
            raise ours(f"the source {what}") from None
        raise ours(f"the source {what}: {error or type(error).__name__}") from error
