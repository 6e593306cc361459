"""Which network addresses an upload may be fetched from: public ones.

Names are resolved here and the connection is made to the address that was checked, so a name that
resolves differently the second time (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

from worker.errors import HostUnavailable, SourceForbidden, SourceMissing

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Networks that carry an IPv4 address inside, with the place of its lowest bit.
_EMBEDDING = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (ipaddress.IPv6Network("::/96"), 0),  # IPv4-compatible
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),  # NAT64, local use
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4
)
_TEREDO = ipaddress.IPv6Network("2001::/32")


def is_public(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address in _TEREDO:
            return False
        for network, shift in _EMBEDDING:
            if address in network:
                inner = ipaddress.IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
                return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


class Resolver:
    """Resolves names within a time-out, which the system's resolver does not offer."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="resolve")

    def resolve(self, host: str, port: int, timeout_s: float) -> list[str]:
        """Addresses of ``host``, in the order to try. One address that is not public refuses all."""
        future = self._threads.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = future.result(timeout_s)
        except FutureTimeoutError:
            raise HostUnavailable(f"host {host!r} was not resolved within {timeout_s:g} s") from None
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise HostUnavailable(f"host {host!r} cannot be resolved now: {error.strerror}") from error
            raise SourceMissing(f"host {host!r} does not exist: {error.strerror}") from error
        except (OSError, UnicodeError) as error:
            raise SourceForbidden(f"host {host!r} is not a valid name: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            self._check(address, host)
        return addresses

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, address: str, host: str) -> None:
        if self._allow_private:
            return
        if not is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise SourceForbidden(
                f"host {host!r} has the private address {address}; "
                "fetch.allow_private_addresses permits such sources"
            )
