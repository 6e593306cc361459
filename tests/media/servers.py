"""Web servers that behave and misbehave, on loopback, each in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[str, socket.socket], None]
"""Is given the request's head and the connection; what it does then is up to it."""


@contextmanager
def serving(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Yield the port of a server that handles each connection with ``answer``."""
    stopping = threading.Event()
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def accept() -> None:
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = listener.accept()
                    threads.append(threading.Thread(target=_handle, args=(connection, answer, context)))
                    threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopping.set()
            for thread in [acceptor, *threads]:
                thread.join()


def _handle(connection: socket.socket, answer: Answer, context: ssl.SSLContext | None) -> None:
    with connection, contextlib.suppress(OSError):
        connection.settimeout(2)
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                chunk = connection.recv(4096)
                if not chunk:
                    return
                head += chunk
            answer(head.decode("latin-1"), connection)


def response(body: bytes, status: str = "200 OK", **headers: str) -> Answer:
    """A well-formed answer; ``content_length`` among the headers may lie."""
    fields = {"content_length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    data = "\r\n".join([*lines, "connection: close", "", ""]).encode() + body
    return lambda _, connection: connection.sendall(data)


def endless(_: str, connection: socket.socket) -> None:
    """No length, and no end until the other side hangs up."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    while True:
        connection.sendall(bytes(65536))


def dripping(head: bytes, pause: threading.Event) -> Answer:
    """Sends ``head``, then one byte at a time until ``pause`` is set."""

    def answer(_: str, connection: socket.socket) -> None:
        connection.sendall(head)
        while not pause.wait(0.05):
            connection.sendall(b"x")

    return answer


def silent(pause: threading.Event) -> Answer:
    def answer(_: str, connection: socket.socket) -> None:
        pause.wait(5)

    return answer
