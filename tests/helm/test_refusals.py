"""Wrong values are refused, and the message says which and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.chart import BROKER, below, merged, render
from tests.helm.process import Refused

SASL = below("settings.kafka.security_protocol", "SASL_SSL")
TRAINER = below("trainer.enabled", True)

WRONG: list[tuple[dict[str, Any], str]] = [
    (below("settings.kafka.bootstrap_servers", "localhost:9092"), "tryout.enabled=true"),
    (SASL, "secrets.kafka.sasl_password.existingSecret"),
    (
        merged(SASL, below("secrets.kafka.sasl_password.existingSecret", "s")),
        "settings.kafka.sasl_username or secrets.kafka.sasl_username",
    ),
    (below("kafkaTls.existingSecret", "s"), "set it to SSL or SASL_SSL"),
    (
        below("worker", {"gpu": {"enabled": True}, "settings": {"inference": {"provider": "openvino"}}}),
        "leave it at auto",
    ),
    (below("settings.inference.provider", "cuda"), "set gpu.enabled=true"),
    (
        below("worker.autoscaling", {"type": "hpa", "minReplicas": 5, "maxReplicas": 2}),
        "minReplicas 5 is above",
    ),
    (below("worker.autoscaling", {"type": "hpa", "minReplicas": 0}), "only autoscaling.type=keda"),
    (below("worker.autoscaling", {"type": "keda", "scaleDownSeconds": 30}), "in the middle of an upload"),
    (below("models.existingClaim", "c"), "list each file of the models with its sha256"),
    (below("models.files", {"a/1/spec.json": "0" * 64}), "name the claim"),
    (TRAINER, "--set-file trainer.config"),
    (merged(TRAINER, below("trainer.config", "name: x")), "trainer.dataClaim"),
    (
        below("monitoring", {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}),
        "enable one",
    ),
    (below("policyFile", {"content": "x", "existingConfigMap": "y"}), "keep one"),
    (below("worker.image.tag", "latest"), "name a version or a digest"),
    (
        below("worker.extraEnv", [{"name": "SLUICE_KAFKA__GROUP_ID", "value": "g"}]),
        "below settings or secrets",
    ),
    (below("pools.kafka", {}), "choose another name"),
    (below("pools", {"a": {}, "b": {"settings": {"kafka": {"uploads_topic": "t"}}}}), "a group of its own"),
]


@pytest.mark.parametrize(("values", "advice"), WRONG, ids=[advice for _, advice in WRONG])
def test_what_cannot_work_is_refused_with_advice(values: dict[str, Any], advice: str) -> None:
    with pytest.raises(Refused) as caught:
        render(BROKER, values)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("workers", 3, "at '': additional properties 'workers' not allowed"),
        (
            "settings.kafka.bootstrap_server",
            "k:9092",
            "at '/settings/kafka': additional properties 'bootstrap_server'",
        ),
        (
            "settings.cache.url",
            "redis://:hunter2@c",
            "at '/settings/cache': additional properties 'url' not allowed",
        ),
        ("worker.settings.kafka.group", "g", "at '/worker/settings/kafka': additional properties 'group'"),
        ("pools.live.replica", 2, "at '/pools/live': additional properties 'replica' not allowed"),
        ("worker.replicas", "two", "at '/worker/replicas': got string, want integer"),
        ("settings.decode.processes", 0, "at '/settings/decode/processes': minimum: got 0, want 1"),
        ("settings.telemetry.port", 0, "at '/settings/telemetry/port': minimum: got 0, want 1"),
        ("settings.telemetry.log_level", "loud", "value must be one of 'debug', 'info', 'warning', 'error'"),
        ("worker.terminationGraceExtraSeconds", 5, "minimum: got 5, want 15"),
        ("worker.resources.limits.memory", None, "missing property 'memory'"),
        ("worker.image.digest", "sha256:abc", "at '/worker/image/digest'"),
        ("models.files", {"../../etc/passwd": "0" * 64}, "invalid propertyName '../../etc/passwd'"),
        ("models.files", {"a/1/spec.json": "abc"}, "at '/models/files/a~1/1~1spec.json'"),
        ("pools.Live", {}, "invalid propertyName 'Live'"),
    ],
)
def test_the_schema_is_strict(path: str, value: Any, message: str) -> None:
    with pytest.raises(Refused) as caught:
        render(BROKER, below(path, value))
    assert message.replace("a~1/1~1", "a/1/") in str(caught.value).replace("~1", "/")
