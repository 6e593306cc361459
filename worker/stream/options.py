"""Our settings in the client's words: foreign names and foreign units stop here.

Pure but for the files of TLS. The client reads them at each connection, and what is
wrong with them looks as if the broker did not answer; so they are tried before.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker.errors import SettingsError
from worker.settings import KafkaSettings

RECONNECT_BACKOFF_MAX_MS = 1_000  # the client's own default is half a minute
MAX_BLOCK_MS = 10_000
MAX_HEARTBEAT_MS = 3_000
TRANSACTION_BACKOFF_MS = 5
FIRST_TRANSACTION_MS = 60_000  # the broker may have to make its topic of transactions first


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Raises SettingsError for a file of TLS that cannot be read, or is not what it should be."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap_servers.split(",")],
        "client_id": f"sluice-{settings.group_id}",
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": ms(settings.request_timeout_s),
        "bootstrap_timeout_ms": ms(settings.request_timeout_s),
        "reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS,
    }
    if settings.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    if settings.security_protocol.endswith("SSL"):
        options |= _tls(settings)
    return options


def fetching(settings: KafkaSettings) -> dict[str, Any]:
    return {
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "fetch_max_bytes": settings.fetch_max_bytes,
        "max_partition_fetch_bytes": min(settings.max_message_bytes, settings.fetch_max_bytes),
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def group(settings: KafkaSettings) -> dict[str, Any]:
    session_ms = ms(settings.session_timeout_s)
    return {
        "group_id": settings.group_id,
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": min(MAX_HEARTBEAT_MS, session_ms // 3),
        "max_poll_interval_ms": max(session_ms, ms(settings.max_poll_interval_s)),
    }


def producing(settings: KafkaSettings) -> dict[str, Any]:
    delivery_ms = ms(settings.delivery_timeout_s)
    return {
        "acks": "all",
        "enable_idempotence": True,  # said aloud: a conflicting option is then an error, not a silent "off"
        "max_request_size": settings.max_message_bytes,
        "delivery_timeout_ms": delivery_ms,
        "request_timeout_ms": min(delivery_ms, ms(settings.request_timeout_s)),
        "max_block_ms": min(delivery_ms, MAX_BLOCK_MS),
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def transacting(settings: KafkaSettings) -> dict[str, Any]:
    return {
        "transaction_timeout_ms": ms(settings.transaction_timeout_s),
        # What the sender's thread sleeps before it asks again whether the last transaction has ended, where
        # the client means to wait 20 ms. The default of 100 makes a transaction last 220 ms.
        "retry_backoff_ms": TRANSACTION_BACKOFF_MS,
        "max_block_ms": FIRST_TRANSACTION_MS,
    }


def ms(seconds: float) -> int:
    return round(seconds * 1000)


def _tls(settings: KafkaSettings) -> dict[str, Any]:
    ca, certificate, key = settings.ssl_ca_file, settings.ssl_cert_file, settings.ssl_key_file
    password = settings.ssl_key_password.get_secret_value()
    for name, path in (("ssl_ca_file", ca), ("ssl_cert_file", certificate), ("ssl_key_file", key)):
        if path is not None:
            _expect(f"kafka.{name} {path}", path.read_bytes)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        _expect(f"kafka.ssl_ca_file {ca}", lambda: context.load_verify_locations(ca))
    if certificate is not None:
        # A password of no characters: without any, OpenSSL asks for that of an encrypted key at the terminal.
        _expect(
            f"kafka.ssl_cert_file {certificate}, its ssl_key_file {key or certificate} and password",
            lambda: context.load_cert_chain(certificate, key, password),
        )
    return {
        "ssl_cafile": _path(ca),
        "ssl_certfile": _path(certificate),
        "ssl_keyfile": _path(key),
        "ssl_password": password or None,
    }


def _expect(what: str, look: Callable[[], object]) -> None:
    try:
        look()
    except OSError as error:  # errors of OpenSSL are some, too
        raise SettingsError(f"{what}: expected PEM that can be used: {error.strerror}") from error


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)
