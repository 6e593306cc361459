"""Kubernetes' schemas, and those of custom resources: what a real API server would refuse."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests import parts
from tests.helm.chart import Resource

VERSIONS = ("1.28", "1.32", "1.36")
OF_KUBERNETES = frozenset(
    {"v1", "apps/v1", "batch/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1"}
)


def check(resource: Resource, version: str) -> None:
    """Raise for a field that is unknown, missing or of the wrong type."""
    _check(json.dumps(resource, sort_keys=True), version)


def check_custom(resource: Resource) -> None:
    """The same against the definitions that KEDA and the Prometheus operator publish."""
    _custom_validator(resource["apiVersion"], resource["kind"]).validate(resource)


@cache  # options leave most resources as they are
def _check(resource: str, version: str) -> None:
    kubernetes_validate.validate(json.loads(resource), version, strict=True)


@cache
def _custom_validator(api_version: str, kind: str) -> jsonschema.Draft202012Validator:
    for file in sorted(parts.custom_resources().glob("*.yaml")):
        definition = yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]
        if definition["names"]["kind"] == kind:
            version = api_version.partition("/")[2]
            (found,) = [each for each in definition["versions"] if each["name"] == version]
            return jsonschema.Draft202012Validator(_closed(found["schema"]["openAPIV3Schema"]))
    raise AssertionError(f"no definition of {kind} in {parts.custom_resources()}")


def _closed(schema: Any) -> Any:
    """An API server drops fields that a definition does not name; a test must not."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    is_object = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if is_object and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    return closed
