"""Our settings in the client's words."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from worker.settings import KafkaSettings
from worker.stream import options


def test_plaintext_needs_no_credentials() -> None:
    assert options.connection(KafkaSettings(bootstrap_servers="a:9092, b:9092", request_timeout_s=7)) == {
        "bootstrap_servers": ["a:9092", "b:9092"],
        "client_id": "sluice-sluice",
        "security_protocol": "PLAINTEXT",
        "request_timeout_ms": 7_000,
        "bootstrap_timeout_ms": 7_000,
        "reconnect_backoff_max_ms": 1_000,
    }


def test_sasl_over_tls_has_credentials_and_certificates() -> None:
    settings = KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_username="sluice",
        sasl_password=SecretStr("secret"),
        ssl_ca_file=Path("/ca.pem"),
    )
    given = options.connection(settings)
    assert given["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (given["sasl_plain_username"], given["sasl_plain_password"]) == ("sluice", "secret")
    assert (given["ssl_cafile"], given["ssl_certfile"], given["ssl_password"]) == ("/ca.pem", None, None)


@pytest.mark.parametrize(("session_s", "heartbeat_ms"), [(2.0, 666), (6.0, 2_000), (45.0, 3_000)])
def test_three_heartbeats_fit_into_a_session(session_s: float, heartbeat_ms: int) -> None:
    given = options.group(KafkaSettings(session_timeout_s=session_s))
    assert (given["session_timeout_ms"], given["heartbeat_interval_ms"]) == (session_s * 1000, heartbeat_ms)


def test_the_producer_is_idempotent_and_bounded() -> None:
    given = options.producing(
        KafkaSettings(delivery_timeout_s=5, request_timeout_s=30, max_message_bytes=2048)
    )
    assert (given["acks"], given["enable_idempotence"], given["max_request_size"]) == ("all", True, 2048)
    assert given["request_timeout_ms"] == given["delivery_timeout_ms"] == 5_000


def test_nothing_is_committed_by_the_client_itself() -> None:
    assert options.fetching(KafkaSettings())["enable_auto_commit"] is False


def test_transactions_are_begun_without_the_clients_long_sleep() -> None:
    given = options.producing(KafkaSettings()) | options.transacting(KafkaSettings(transaction_timeout_s=4))
    assert given["retry_backoff_ms"] <= 20
    assert given["transaction_timeout_ms"] == 4_000
    assert given["max_block_ms"] >= 60_000
