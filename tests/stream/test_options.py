"""Our settings in the client's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from worker.errors import SettingsError
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


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, cert.pem with key.pem, and other.pem, the key of another certificate."""
    folder = tmp_path_factory.mktemp("pems")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ours, others = ca.issue_cert("ours"), ca.issue_cert("others")
    ours.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    ours.private_key_pem.write_to_path(folder / "key.pem")
    others.private_key_pem.write_to_path(folder / "other.pem")
    locked = load_pem_private_key(ours.private_key_pem.bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (folder / "locked.pem").write_bytes(locked)
    (folder / "words.pem").write_text("not a certificate")
    return folder


def test_sasl_over_tls_has_credentials_and_certificates(pems: Path) -> None:
    settings = KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_username="sluice",
        sasl_password=SecretStr("secret"),
        ssl_ca_file=pems / "ca.pem",
    )
    given = options.connection(settings)
    assert given["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (given["sasl_plain_username"], given["sasl_plain_password"]) == ("sluice", "secret")
    assert given["ssl_cafile"] == str(pems / "ca.pem")
    assert (given["ssl_certfile"], given["ssl_keyfile"], given["ssl_password"]) == (None, None, None)


@pytest.mark.parametrize(("key", "password"), [("key.pem", ""), ("locked.pem", "secret")])
def test_a_certificate_of_ones_own(pems: Path, key: str, password: str) -> None:
    settings = KafkaSettings(
        security_protocol="SSL",
        ssl_cert_file=pems / "cert.pem",
        ssl_key_file=pems / key,
        ssl_key_password=SecretStr(password),
    )
    given = options.connection(settings)
    assert given["ssl_certfile"] == str(pems / "cert.pem")
    assert (given["ssl_keyfile"], given["ssl_password"]) == (str(pems / key), password or None)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ssl_ca_file": "none.pem"}, r"kafka.ssl_ca_file \S+/none.pem: .*: No such file"),
        ({"ssl_ca_file": "."}, r"kafka.ssl_ca_file \S+: .*: Is a directory"),
        ({"ssl_ca_file": "words.pem"}, r"kafka.ssl_ca_file \S+/words.pem: expected PEM"),
        ({"ssl_cert_file": "none.pem", "ssl_key_file": "key.pem"}, r"kafka.ssl_cert_file \S+/none.pem: "),
        ({"ssl_cert_file": "cert.pem", "ssl_key_file": "none.pem"}, r"kafka.ssl_key_file \S+/none.pem: "),
        ({"ssl_cert_file": "cert.pem", "ssl_key_file": "other.pem"}, r", its ssl_key_file \S+/other.pem and"),
        ({"ssl_cert_file": "cert.pem", "ssl_key_file": "locked.pem"}, "/locked.pem and password: expected"),
    ],
)
def test_a_file_of_tls_that_cannot_be_used_is_a_wrong_setting(
    pems: Path, files: dict[str, str], message: str
) -> None:
    given: dict[str, Any] = {name: pems / file for name, file in files.items()}
    with pytest.raises(SettingsError, match=message):
        options.connection(KafkaSettings(security_protocol="SSL", **given))


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
