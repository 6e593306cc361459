"""The worker's image at work: as compose.yaml starts it, with no way out but to broker and cache.

The root file system is read-only, the user has no rights and no capabilities.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator

import pytest
import yaml

from tests import parts
from tests.containers.compose import COMPOSE, PROJECT, Compose, find_compose, reduced
from worker.messages import Verdict

pytestmark = [pytest.mark.containers, pytest.mark.slow, pytest.mark.timeout(300)]

VERDICT_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Broker, topics, cache and worker, all started. Decoders are confined, or the worker stops."""
    parts.docker_engine()
    found = Compose(tmp_path_factory.mktemp("compose") / "compose.yaml", find_compose())
    found.file.write_text(yaml.safe_dump(reduced({"SLUICE_DECODE__SANDBOX": "require"})))
    try:
        found("up", "-d")
        yield found
    finally:
        found("down", "-v", "-t", "2")


def inside(compose: Compose, *command: str) -> str:
    return compose("exec", "-T", "worker", *command).stdout.decode()


def test_an_upload_as_the_file_says(compose: Compose) -> None:
    told = COMPOSE.read_text()
    publish, watch = "cat > /tmp/clip.mp4 && sluice publish /tmp/clip.mp4", "sluice watch --from-beginning"
    assert f"exec -T worker sh -c '{publish}' < clip.mp4" in told
    assert f"exec worker {watch}" in told
    clip = parts.data_dir() / "scfd" / "noFight" / "nofi001.mp4"
    answer = compose("exec", "-T", "worker", "sh", "-c", publish, given=clip.read_bytes())
    verdict = first_verdict(compose.command("exec", "-T", "worker", *watch.split(), "--json"))
    assert verdict.upload_id == answer.stdout.decode().strip()
    assert verdict.decided_by in {"filter", "escalation"}, verdict


def first_verdict(watch: list[str]) -> Verdict:
    with subprocess.Popen(watch, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        give_up = threading.Timer(VERDICT_WITHIN_S, process.kill)
        give_up.start()
        line = process.stdout.readline()
        give_up.cancel()
        process.kill()
    assert line, f"no verdict within {VERDICT_WITHIN_S} s"
    return Verdict.model_validate_json(line)


@pytest.mark.parametrize(
    ("what", "command", "said"),
    [
        ("user and group", "id -u; id -g", "10001 10001"),
        (
            "capabilities, new privileges",
            "awk '/^(CapEff|NoNewPrivs)/ {print $2}' /proc/self/status",
            "0" * 16 + " 1",
        ),
        ("the first process reaps", "cat /proc/1/comm", "tini"),
        ("writing outside of /tmp", "touch /opt/sluice/x /var/x 2>&1 | grep -c 'Read-only file system'", "2"),
        ("seccomp by the engine", "awk '/^Seccomp:/ {print $2}' /proc/self/status", "2"),
        ("compilers", "command -v gcc cc || true", ""),
        ("pip for what is served", "python -m pip 2>&1 | grep -c 'No module'", "1"),
    ],
)
def test_what_the_worker_may_do(compose: Compose, what: str, command: str, said: str) -> None:
    assert " ".join(inside(compose, "sh", "-c", command).split()) == said, what


def test_the_network_has_no_way_out(compose: Compose) -> None:
    command = ["docker", "network", "inspect", "-f", "{{.Internal}}", f"{PROJECT}_default"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == "true"


def test_decoders_can_be_confined_without_capabilities(compose: Compose) -> None:
    """By Landlock and seccomp: the engine's own seccomp profile lets them."""
    program = "from worker.media import sandbox; print(sandbox.layers())"
    assert inside(compose, "python", "-c", program).strip() == "('landlock', 'seccomp')"
