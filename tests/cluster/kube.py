"""kubectl and helm as people use them, on one namespace, and the questions that the tests ask."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts import CHECKOUT

CHART = CHECKOUT / "helm"
WORKERS = "app.kubernetes.io/component=worker,sluice/pool=worker"
GPU_TAINT = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


class CommandFailed(AssertionError):
    """A command ended with an error; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    phase: str
    ready: bool
    restarts: int
    reason: str  # why it is not scheduled, or why its containers do not run

    @classmethod
    def of(cls, found: dict[str, Any]) -> Pod:
        status = found["status"]
        conditions = {each["type"]: each for each in status.get("conditions", ())}
        containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
        states = [
            each[kind]["terminated" if "terminated" in each[kind] else "waiting"].get("reason", "")
            for each in containers
            for kind in ("state", "lastState")
            if {"terminated", "waiting"} & set(each.get(kind, ()))
        ]
        return cls(
            name=found["metadata"]["name"],
            phase="Terminating" if "deletionTimestamp" in found["metadata"] else status["phase"],
            ready=conditions.get("Ready", {}).get("status") == "True",
            restarts=sum(each["restartCount"] for each in containers),
            reason=" ".join([conditions.get("PodScheduled", {}).get("message", ""), *states]).strip(),
        )


@dataclass(frozen=True, slots=True)
class Kube:
    namespace: str
    values: Path  # what every installation of these tests has in common

    def kubectl(self, *arguments: str, given: str | None = None, timeout_s: float = 120.0) -> str:
        return run("kubectl", "-n", self.namespace, *arguments, given=given, timeout_s=timeout_s)

    def helm(self, *arguments: str, timeout_s: float = 300.0) -> str:
        return run("helm", "-n", self.namespace, *arguments, timeout_s=timeout_s)

    def install(self, release: str, *sets: str, wait: bool = True, more: Sequence[str] = ()) -> None:
        self._release("install", release, sets, *(_waiting(240) if wait else ()), *more)

    def upgrade(self, release: str, *sets: str, give_up_s: int = 240, more: Sequence[str] = ()) -> None:
        """From the values in common, with ``sets`` above them; waits until the pods are ready."""
        self._release("upgrade", release, sets, *_waiting(give_up_s), *more)

    def revision(self, release: str) -> str:
        """To go back to: without it `helm rollback` goes to the one before, which may have failed."""
        return str(json.loads(self.helm("status", release, "-o", "json"))["version"])

    def _release(self, action: str, release: str, sets: Sequence[str], *more: str) -> None:
        options = [option for each in sets for option in ("--set", each)]
        self.helm(action, release, str(CHART), "--values", str(self.values), *options, *more)

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.kubectl(
            "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        )

    def pods(self, selector: str = WORKERS) -> list[Pod]:
        return [Pod.of(each) for each in self.get("pods", "-l", selector)["items"]]

    def ready(self, selector: str = WORKERS) -> list[str]:
        return [pod.name for pod in self.pods(selector) if pod.ready and pod.phase == "Running"]

    def logs(self, pod: str) -> str:
        """Empty while no container has begun."""
        try:
            return self.kubectl("logs", pod)
        except CommandFailed:
            return ""

    def get(self, *what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *what, "-o", "json"))
        return found

    def scale(self, replicas: int) -> None:
        self.kubectl("scale", "deployment/sluice-worker", f"--replicas={replicas}")
        self.settled(replicas)

    def settled(self, replicas: int, timeout_s: float = 150.0) -> None:
        """Wait until there are just so many workers, all ready."""

        def just_these() -> bool:
            pods = self.pods()
            return len(pods) == replicas and all(pod.ready for pod in pods)

        until(just_these, f"{replicas} ready workers", timeout_s, lambda: str(self.pods()))


def _waiting(give_up_s: int) -> tuple[str, ...]:
    return ("--wait", f"--timeout={give_up_s}s")


def run(*command: str, given: str | None = None, timeout_s: float = 120.0) -> str:
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command[:6])} ...: {(done.stderr + done.stdout).strip()[-1500:]}")
    return done.stdout


def until(
    condition: Callable[[], bool], what: str, timeout_s: float, otherwise: Callable[[], str] = str
) -> None:
    """Wait for ``condition``; ``otherwise`` tells what there is instead."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_s:
            raise AssertionError(f"no {what} within {timeout_s:.0f} s: {otherwise()}")
        time.sleep(0.5)
