from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from worker.telemetry.logs import bound, configure_logging


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Logging is the process's own: put it back for the tests that follow."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Log:
    def __init__(self, log_format: Any = "json", level: str = "info") -> None:
        self._stream = io.StringIO()
        configure_logging(level, log_format, self._stream)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def test_a_line_says_what_when_where_and_for_which_upload() -> None:
    log = Log()
    with bound(upload_id="u-1", trace_id="t-1"):
        structlog.get_logger("worker.moderation").info("verdict sent", decision="allow", clips=8)
    structlog.get_logger("worker.moderation").info("idle")
    first, second = log.lines
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "message": "verdict sent",
        "level": "info",
        "logger": "worker.moderation",
        "upload_id": "u-1",
        "trace_id": "t-1",
        "decision": "allow",
        "clips": 8,
    }
    assert "upload_id" not in second


def test_the_standard_librarys_logging_goes_the_same_way() -> None:
    log = Log()
    with bound(upload_id="u-1"):
        logging.getLogger("worker.cache").warning("value %s refused", "k", extra={"attempt": 2})
    (line,) = log.lines
    assert (line["message"], line["level"], line["upload_id"]) == ("value k refused", "warning", "u-1")
    assert line["attempt"] == 2


def test_tracebacks_are_kept_on_one_line() -> None:
    log = Log()
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("x").exception("it failed")
        structlog.get_logger("y").exception("it failed too")
    first, second = log.lines
    assert "ValueError: broken" in first["exception"]
    assert "ValueError: broken" in second["exception"]


def test_levels() -> None:
    log = Log(level="warning")
    structlog.get_logger("x").info("quiet")
    logging.getLogger("y").info("quiet")
    structlog.get_logger("x").warning("loud")
    assert [line["message"] for line in log.lines] == ["loud"]


def test_clients_talk_about_themselves_only_when_something_is_wrong() -> None:
    log = Log(level="debug")
    logging.getLogger("kafka.coordinator").info("heartbeat")
    logging.getLogger("kafka.coordinator").warning("left the group")
    assert [line["message"] for line in log.lines] == ["left the group"]


SECRET = "hunter2"


@pytest.mark.parametrize(
    "fields",
    [
        {"password": SECRET},
        {"sasl_password": SECRET},
        {"s3_secret_key": SECRET},
        {"AUTHORIZATION": f"Bearer {SECRET}"},
        {"settings": {"cache": {"api_key": SECRET}}},
        {"value": SecretStr(SECRET)},
        {"url": f"redis://:{SECRET}@cache:6379/0"},
        {"url": f"rediss://user:{SECRET}@cache:6379/0"},
        {"urls": [f"https://me:{SECRET}@host/a.mp4"]},
        {"uri": f"https://b.s3.amazonaws.com/a.mp4?X-Amz-Date=1&X-Amz-Signature={SECRET}&x=1"},
        {"uri": f"https://blob/a.mp4?sig={SECRET}"},
        {"error": ValueError(f"cannot reach redis://:{SECRET}@cache")},
        {"raw": f"redis://:{SECRET}@cache".encode()},
        {"detail": f"login with password={SECRET} failed"},
    ],
    ids=str,
)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_never_printed(fields: dict[str, object], log_format: str) -> None:
    log = Log(log_format)
    structlog.get_logger("x").info("connecting", **fields)
    assert log.text
    assert SECRET not in log.text


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nor_in_messages_and_tracebacks(log_format: str) -> None:
    log = Log(log_format)
    url = f"redis://:{SECRET}@cache"
    logging.getLogger("redis").warning("cannot reach %s", url)
    try:
        raise ConnectionError(url)
    except ConnectionError:
        structlog.get_logger("x").exception("cannot reach it")
    assert "cache" in log.text
    assert SECRET not in log.text


def test_what_is_no_secret_stays_readable() -> None:
    log = Log()
    uri = "https://cdn.example/a.mp4?t=12"
    structlog.get_logger("x").info(
        "fetched", uri=uri, key="ab12", labels=["violence"], seconds=1.5, missing=None
    )
    (line,) = log.lines
    assert (line["uri"], line["key"], line["labels"], line["seconds"]) == (uri, "ab12", ["violence"], 1.5)
    assert line["missing"] is None


def test_auto_is_json_where_nobody_watches() -> None:
    log = Log("auto")
    structlog.get_logger("x").info("hello")
    assert log.lines[0]["message"] == "hello"
