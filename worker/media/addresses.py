"""Which network addresses an upload may be fetched from: public ones.

Names are resolved here and the connection is made to the address that was checked, so a name that
resolves differently the second time (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from worker.clock import Deadline, SystemClock
from worker.errors import HostUnavailable, SourceForbidden, SourceMissing

_LOOKUPS = 8  # at a time

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Networks that carry an IPv4 address inside, with the place of its lowest bit.
_EMBEDDING = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (ipaddress.IPv6Network("::/96"), 0),  # IPv4-compatible
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4
)

# Never fetched from, whatever the standard library of the day says of them.
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.88.99.0/24",  # relays of 6to4
        "64:ff9b:1::/48",  # NAT64, local use: the address inside lies where the network likes
        "2001::/32",  # Teredo
        "3fff::/20",  # documentation
        "fec0::/10",  # site-local
    )
)
# Begins the lower half of an ISATAP address: a tunnel to the IPv4 address that follows.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: IPAddress) -> bool:
    if any(address in network for network in _REFUSED):
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
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
        self._free = threading.Semaphore(_LOOKUPS)

    def resolve(self, host: str, port: int, timeout_s: float) -> list[str]:
        """Addresses of ``host``, in the order to try. One address that is not public refuses all."""
        addresses = [host] if _is_literal(host) else self._looked_up(host, port, timeout_s)
        for address in addresses:
            self._check(address, host)
        return addresses

    def _looked_up(self, host: str, port: int, timeout_s: float) -> list[str]:
        try:
            found = self._in_time(host, port, Deadline.after(SystemClock(), timeout_s))
        except FutureTimeoutError:
            raise HostUnavailable(f"host {host!r} was not resolved within {timeout_s:g} s") from None
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise HostUnavailable(f"host {host!r} cannot be resolved now: {error.strerror}") from error
            raise SourceMissing(f"host {host!r} does not exist: {error.strerror}") from error
        except (OSError, UnicodeError) as error:
            raise SourceForbidden(f"host {host!r} is not a valid name: {error}") from error
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _in_time(self, host: str, port: int, until: Deadline) -> list[Any]:
        """A lookup that hangs keeps its thread, but neither its caller nor the end of the program."""
        if not self._free.acquire(timeout=until.remaining_s):
            raise FutureTimeoutError
        answer: Future[list[Any]] = Future()
        lookup = threading.Thread(
            target=self._look_up, args=(host, port, answer), name="resolve", daemon=True
        )
        try:
            lookup.start()
        except RuntimeError:  # no further threads
            self._free.release()
            raise
        return answer.result(until.remaining_s)

    def _look_up(self, host: str, port: int, answer: Future[list[Any]]) -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except BaseException as error:
            answer.set_exception(error)
        finally:
            self._free.release()

    def _check(self, address: str, host: str) -> None:
        if self._allow_private:
            return
        if not is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise SourceForbidden(
                f"host {host!r} has the private address {address}; "
                "fetch.allow_private_addresses permits such sources"
            )
