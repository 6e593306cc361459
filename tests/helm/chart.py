"""Renders the chart by Helm itself and finds things in what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.helm import process
from tests.parts import CHECKOUT

CHART = CHECKOUT / "helm"
CI_FILES = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "r", "moderation"
Resource = dict[str, Any]
BROKER: dict[str, Any] = {"settings": {"kafka": {"bootstrap_servers": "kafka:9092"}}}
"""The one value without a default."""


@dataclass(frozen=True, slots=True)
class Rendered:
    resources: tuple[Resource, ...]
    notes: str

    def all(self, kind: str) -> list[Resource]:
        return [resource for resource in self.resources if resource["kind"] == kind]

    def one(self, kind: str, ending: str = "") -> Resource:
        (found,) = [each for each in self.all(kind) if each["metadata"]["name"].endswith(ending)]
        return found

    def worker(self, pool: str = "worker") -> Resource:
        """The pod of a pool's Deployment."""
        pod: Resource = self.one("Deployment", f"-{pool}")["spec"]["template"]["spec"]
        return pod

    def pools(self) -> list[str]:
        return [
            each["metadata"]["labels"]["sluice/pool"]
            for each in self.all("Deployment")
            if "sluice/pool" in each["metadata"]["labels"]
        ]

    def variables(self, pool: str = "worker") -> dict[str, str]:
        """The settings in the environment of a pool's workers, but for those from Secrets."""
        return settings_of(self.worker(pool)["containers"][0])

    def pods(self) -> Iterator[tuple[str, Resource]]:
        """(kind/name, pod) of everything that becomes a pod."""
        for resource in self.resources:
            name = f"{resource['kind']}/{resource['metadata']['name']}"
            if resource["kind"] == "Pod":
                yield name, resource["spec"]
            elif resource["kind"] in {"Deployment", "Job"}:
                yield name, resource["spec"]["template"]["spec"]


def render(*layers: dict[str, Any]) -> Rendered:
    """The chart with ``layers`` of values, the later ones stronger. Raises process.Refused."""
    texts = process.render(CHART, merged(*layers), RELEASE, NAMESPACE)
    notes = next(text for name, text in texts.items() if name.endswith("NOTES.txt"))
    manifests = [text for name, text in texts.items() if not name.endswith("NOTES.txt")]
    found = [each for text in manifests for each in yaml.load_all(text, yaml.CSafeLoader) if each]
    return Rendered(tuple(found), notes)


def ci_values(name: str) -> dict[str, Any]:
    return read(CHART / "ci" / f"{name}-values.yaml")


def read(file: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(file.read_text())
    return values


def settings_of(container: Resource) -> dict[str, str]:
    """Sluice's variables as Kubernetes passes them on, but for what comes from Secrets."""
    return {
        each["name"]: each["value"].replace("$$", "$")
        for each in container["env"]
        if each["name"].startswith("SLUICE_") and "value" in each
    }


def containers(pod: Resource) -> list[Resource]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def below(path: str, value: Any) -> dict[str, Any]:
    """`below("a.b", 1)` is {"a": {"b": 1}}."""
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value
