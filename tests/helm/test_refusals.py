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
    (below("models.existingClaim", "c"), "add file:///source/NAME/VERSION"),
    (below("models.pull", ["file:///source/a/1"]), "set models.existingClaim"),
    (below("models", {"existingClaim": "c", "pull": ["file:///srv/a/1"]}), "write file:///source/NAME"),
    (below("models", {"everySeconds": 9, "pull": ["s3://b/a/1"]}), "names no newest version"),
    (
        merged(
            below("models", {"everySeconds": 9, "pull": ["s3://b/a#newest"]}),
            below("settings.inference.watch_s", 0),
        ),
        "workers that never look",
    ),
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
        ("models.pull", ["violence-filter/0.3.0"], "at '/models/pull/0'"),
        ("models.pull", ["http://host/a/1"], "at '/models/pull/0'"),
        ("models.pull", ["s3://b/a/1#sha256=abc"], "at '/models/pull/0'"),
        ("models.fetch.endpoint", "http://minio", "at '/models/fetch': additional properties 'endpoint'"),
        ("pools.Live", {}, "invalid propertyName 'Live'"),
    ],
)
def test_the_schema_is_strict(path: str, value: Any, message: str) -> None:
    with pytest.raises(Refused) as caught:
        render(BROKER, below(path, value))
    assert message in str(caught.value)
