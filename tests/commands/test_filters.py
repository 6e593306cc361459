from __future__ import annotations

import pytest

from worker.commands.filters import settings_at


def test_what_the_command_line_says_is_put_above_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_KAFKA__GROUP_ID", "ours")
    monkeypatch.setenv("SLUICE_KAFKA__BOOTSTRAP_SERVERS", "settings:9092")
    kafka = settings_at("option:9092", uploads_topic=None, verdicts_topic="judged").kafka
    assert (kafka.bootstrap_servers, kafka.group_id) == ("option:9092", "ours")
    assert (kafka.uploads_topic, kafka.verdicts_topic) == ("uploads", "judged")
    assert settings_at(None, uploads_topic=None).kafka.bootstrap_servers == "settings:9092"
