"""The worker's image at work: as compose.yaml starts it, with no way out but to broker and cache.

The root file system is read-only, the user has no rights and no capabilities.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator

import pytest
import yaml

from tests import parts
from tests.containers.compose import COMPOSE, Compose, find_compose, reduced
from worker.messages import Verdict

pytestmark = [pytest.mark.containers, pytest.mark.slow, pytest.mark.timeout(300)]

LANDLOCK_SINCE = 23  # version of the Docker engine whose default seccomp profile lets Landlock through
STARTED_WITHIN_S = 120.0
VERDICT_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def may_require_sandbox() -> bool:
    parts.docker_engine()
    version = subprocess.run(
        ["docker", "version", "-f", "{{.Server.Version}}"], check=True, capture_output=True, text=True
    )
    return int(version.stdout.partition(".")[0]) >= LANDLOCK_SINCE


@pytest.fixture(scope="module")
def compose(may_require_sandbox: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Broker, topics, cache and worker, all started."""
    found = Compose(tmp_path_factory.mktemp("compose") / "compose.yaml", find_compose())
    sandbox = {"SLUICE_DECODE__SANDBOX": "require"} if may_require_sandbox else {}
    found.file.write_text(yaml.safe_dump(reduced(sandbox)))
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
        ("routes out of the network", "awk '$2 == \"00000000\"' /proc/net/route", ""),
        ("pip and compilers", "command -v pip gcc cc || true; python -m pip 2>&1 | grep -c 'No module'", "1"),
    ],
)
def test_what_the_worker_may_do(compose: Compose, what: str, command: str, said: str) -> None:
    assert " ".join(inside(compose, "sh", "-c", command).split()) == said, what


def test_decoders_are_confined_in_a_container(compose: Compose, may_require_sandbox: bool) -> None:
    """Landlock and seccomp need no capability; the engine's own seccomp profile must permit them."""
    program = "import json; from worker.media import sandbox; print(json.dumps(sandbox.missing()))"
    missing = json.loads(inside(compose, "python", "-c", program))
    assert set(missing) == (set() if may_require_sandbox else {"landlock"})
