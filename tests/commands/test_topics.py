"""`sluice topics` over real brokers: what is created is found to be good, and what is not is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from tests import parts
from tests.brokers import RealBroker, unique_settings
from tests.commands.running import sluice
from tests.kafka_node import KafkaNode
from worker.errors import SettingsError
from worker.settings import KafkaSettings
from worker.stream.client import TopicSpec, create_topics, describe

pytestmark = pytest.mark.timeout(60)

SECURED = """
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username="admin" password="secret" user_admin="secret" user_worker="secret";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
"""


def test_what_is_created_is_as_needed(real_broker: RealBroker) -> None:
    kafka = real_broker.settings()
    missing = sluice(kafka, "topics", "check")
    assert missing.exit_code == 1
    assert missing.stdout.count("there is no such topic: `sluice topics create`") == 3

    made = sluice(kafka, "topics", "create", "--partitions", "2")
    assert made.exit_code == 0, made.output
    assert made.stdout.count("created   ") == 3
    again = sluice(kafka, "topics", "create", "--partitions", "2")
    assert (again.exit_code, again.stdout.count("created   ")) == (0, 0)

    assert sluice(kafka, "topics", "check", "--partitions", "2").exit_code == 0
    more = sluice(kafka, "topics", "check")  # more workers than uploads have partitions
    assert more.exit_code == 1
    assert f"{kafka.uploads_topic}: it has 2 partitions, at least 4 are wanted" in more.stdout
    assert "1 to put right" in more.stderr


@pytest.mark.kafka
def test_defaults_of_the_brokers_are_seen(apache_kafka: RealBroker) -> None:
    """A topic made without thought: nothing is said of it by name, and Kafka's defaults count."""
    kafka = apache_kafka.settings()
    small = kafka.model_copy(update={"max_message_bytes": 1_000_000})
    create_topics(small, [TopicSpec(name) for name in (kafka.uploads_topic, kafka.verdicts_topic)])
    done = sluice(kafka, "topics", "create", "--retention-hours", "720")
    assert done.exit_code == 1
    wrong = [line for line in done.stdout.splitlines() if line.startswith("mismatch")]
    assert [line.partition(": ")[2].split(" is ")[0] for line in wrong] == [
        "retention.ms",
        "max.message.bytes",
        "cleanup.policy",
    ]
    assert f"created   {kafka.dead_letters_topic}" in done.stdout


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaSettings]:
    """A broker that lets the user `worker` do nothing; these are the settings of `admin`."""
    with KafkaNode(parts.kafka_home(), tmp_path_factory.mktemp("secured"), SECURED) as node:
        yield unique_settings(node.bootstrap, 3.0).model_copy(
            update={
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "PLAIN",
                "sasl_username": "admin",
                "sasl_password": SecretStr("secret"),
            }
        )


@pytest.mark.kafka
def test_what_a_user_may_not_do_is_named(secured: KafkaSettings) -> None:
    admin = ("--partitions", "1")
    made = sluice(secured, "topics", "create", *admin)
    assert made.exit_code == 0, made.output

    worker = secured.model_copy(update={"sasl_username": "worker"})
    done = sluice(worker, "topics", "check", *admin)
    assert done.exit_code == 1
    assert f"{secured.uploads_topic}: we may not see it: allow Read on the topic" in done.stdout
    assert f"{secured.verdicts_topic}: we may not see it: allow Write on the topic" in done.stdout
    assert f"allow Read on the group '{secured.group_id}'" in done.stdout

    allow(secured, secured.uploads_topic, "DESCRIBE")
    done = sluice(worker, "topics", "check", *admin)
    assert f"{secured.uploads_topic}: its configuration may not be read" in done.stdout
    assert f"{secured.uploads_topic}: we may not do all that a worker does: allow Read" in done.stdout
    names = (secured.uploads_topic,)
    assert describe(worker, names).topics[secured.uploads_topic].configs == {}

    other = worker.model_copy(update={"uploads_topic": "another"})
    with pytest.raises(SettingsError, match="topic another may not be created by this user: allow Create"):
        sluice(other, "topics", "create")


def allow(admin: KafkaSettings, topic: str, operation: str) -> None:
    from kafka import KafkaAdminClient
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

    from worker.stream import options

    client = KafkaAdminClient(**options.connection(admin))
    rule = ACL(
        "User:worker",
        "*",
        ACLOperation[operation],
        ACLPermissionType.ALLOW,
        ResourcePattern(ResourceType.TOPIC, topic),
    )
    assert client.create_acls([rule])["failed"] == []
    client.close()
