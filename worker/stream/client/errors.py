"""The client's errors as ours, and what it needs in order to start."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import errors as kafka_errors

from worker.errors import BrokerUnavailable, SettingsError, SluiceError

# Foreign error -> ours; the first that matches counts. SettingsError: another try is of no use.
TRANSLATION: tuple[tuple[type[Exception], type[SluiceError]], ...] = (
    (kafka_errors.AuthorizationError, SettingsError),
    (kafka_errors.SaslAuthenticationFailedError, SettingsError),
    (kafka_errors.UnsupportedSaslMechanismError, SettingsError),
    (kafka_errors.InconsistentGroupProtocolError, SettingsError),
    (kafka_errors.InvalidSessionTimeoutError, SettingsError),
    (kafka_errors.InvalidGroupIdError, SettingsError),
    (kafka_errors.InvalidTopicError, SettingsError),
    (kafka_errors.InvalidReplicationFactorError, SettingsError),
    (kafka_errors.KafkaConfigurationError, SettingsError),
    (kafka_errors.KafkaError, BrokerUnavailable),
    (OSError, BrokerUnavailable),
)


_HINTS: dict[type[Exception], str] = {
    kafka_errors.InconsistentGroupProtocolError: (
        "another member of the group uses another `kafka.assignment`; eager and cooperative do not mix"
    ),
    kafka_errors.InvalidSessionTimeoutError: (
        "`kafka.session_timeout_s` is outside the broker's group.min/max.session.timeout.ms"
    ),
}


@contextmanager
def translating() -> Iterator[None]:
    """Raises our error for a foreign one."""
    try:
        yield
    except SluiceError:
        raise
    except Exception as error:
        raise translated(error) from error


def translated(error: Exception) -> Exception:
    for foreign, ours in TRANSLATION:
        if isinstance(error, foreign):
            hint = next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), "")
            return ours(f"Kafka: {type(error).__name__}: {error}" + (f" ({hint})" if hint else ""))
    return error


def require_crc32c() -> None:
    if importlib.util.find_spec("crc32c") is None:
        raise SettingsError("the package `crc32c` is missing: without it large records take seconds each")
