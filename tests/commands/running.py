"""Commands over a broker, in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from worker.cli import cli
from worker.settings import KafkaSettings


def sluice(kafka: KafkaSettings, *arguments: str) -> Result:
    names = ("bootstrap_servers", "group_id", "uploads_topic", "verdicts_topic", "dead_letters_topic")
    environment = {f"SLUICE_KAFKA__{name.upper()}": str(getattr(kafka, name)) for name in names}
    result = CliRunner().invoke(cli, arguments, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
