"""TLS and SASL against Apache Kafka: what is set is used, what does not fit is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from tests import parts
from tests.brokers import unique_settings
from tests.kafka_node import KafkaNode
from worker.settings import KafkaSettings
from worker.stream import client
from worker.stream.types import Outgoing

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(90)]

SECURE = """
listener.security.protocol.map=CLIENT:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="sluice" password="secret" user_sluice="secret";
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={truststore}
"""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    folder = tmp_path_factory.mktemp("secured")
    ca = trustme.CA()
    certificate = ca.issue_cert("127.0.0.1", "localhost")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # Java reads no other
    (folder / "node.pem").write_bytes(pkcs8 + b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    extra = SECURE.format(keystore=folder / "node.pem", truststore=folder / "ca.pem")
    with KafkaNode(parts.kafka_home(), folder, extra) as node:
        yield unique_settings(node.bootstrap, 3.0).model_copy(
            update={
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "PLAIN",
                "sasl_username": "sluice",
                "sasl_password": SecretStr("secret"),
                "ssl_ca_file": folder / "ca.pem",
                "request_timeout_s": 3.0,
            }
        )


def test_records_go_through_tls_with_a_password(secured: KafkaSettings) -> None:
    client.create_topics(secured, [client.TopicSpec(secured.verdicts_topic, 1)])
    producer = client.BrokerProducer(secured)
    producer.send(Outgoing(secured.verdicts_topic, b"k", b"v")).result(10)
    producer.close(2)
    with client.Tail(secured, secured.verdicts_topic, from_beginning=True) as tail:
        assert [record.value for record in tail.poll(5)] == [b"v"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"SLUICE_KAFKA__SASL_PASSWORD": "guess"},
        {"SLUICE_KAFKA__SSL_CA_FILE": ""},
        {"SLUICE_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
    ],
    ids=["password", "authority", "protocol"],
)
def test_what_does_not_fit_is_refused_without_the_password_in_the_message(
    secured: KafkaSettings, wrong: dict[str, str]
) -> None:
    """In a process of its own: kafka-python leaves sockets open when it cannot connect."""
    given = {
        "SLUICE_KAFKA__BOOTSTRAP_SERVERS": secured.bootstrap_servers,
        "SLUICE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "SLUICE_KAFKA__SASL_MECHANISM": "PLAIN",
        "SLUICE_KAFKA__SASL_USERNAME": "sluice",
        "SLUICE_KAFKA__SASL_PASSWORD": "secret",
        "SLUICE_KAFKA__SSL_CA_FILE": str(secured.ssl_ca_file),
        "SLUICE_KAFKA__REQUEST_TIMEOUT_S": "3",
    }
    program = (
        "from worker.settings import Settings\n"
        "from worker.stream import client\n"
        "client.missing_topics(Settings().kafka, [])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=parts.CHECKOUT,
        env={**os.environ, **given, **wrong},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"worker\.errors\.(BrokerUnavailable|SettingsError): Kafka: ", run.stderr)
    assert "guess" not in run.stderr
    assert "secret" not in run.stderr
