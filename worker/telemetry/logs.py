"""Logs: JSON for machines, a console for people, one line an event, the upload's id in each.

The standard library's logging, which the vendor clients use, goes the same way. Secrets are masked by
key and by shape: nothing that a URL or a field gives away is printed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from worker.masking import MASK, is_secret, mask

NOISY_LOGGERS = ("kafka", "botocore", "boto3", "urllib3", "httpx", "httpcore", "s3transfer", "libav")


def configure_logging(
    level: str = "info",
    log_format: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Set up logging for the process. Called once, by the composition root."""
    out = stream if stream is not None else sys.stderr
    is_console = log_format == "console" or (log_format == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(is_console)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NOISY_LOGGERS:  # their `info` is about themselves
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def bound(**context: str) -> AbstractContextManager[None]:
    """Bind upload_id, trace_id and the like to every line logged inside, on this thread."""
    return structlog.contextvars.bound_contextvars(**context)


def mask_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The last step before rendering: tracebacks are text by then, and masked too."""
    return {key: MASK if is_secret(key) else _masked(value) for key, value in event.items()}


def _masked(value: object) -> object:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {
            key: MASK if isinstance(key, str) and is_secret(key) else _masked(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _masked(repr(value) if isinstance(value, BaseException | bytes) else str(value))


def _rendering(is_console: bool) -> list[Processor]:
    if is_console:
        return [
            structlog.processors.format_exc_info,
            mask_secrets,
            structlog.dev.ConsoleRenderer(colors=True),
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        mask_secrets,
        structlog.processors.JSONRenderer(default=str),
    ]
