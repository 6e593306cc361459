"""The alerts ask for what the worker tells, fire when they should, and each has its page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import parts
from tests.observability.names import known, unknown_in

RULES = parts.CHECKOUT / "helm" / "rules" / "alerts.yaml"
RUNBOOKS = parts.CHECKOUT / "docs" / "runbooks"
CASES = sorted(Path(__file__).parent.glob("*.test.yaml"))
THRESHOLDS = ("errorShare", "degradedShare", "latencySeconds", "verdictSeconds", "backlogSeconds")

Rule = dict[str, Any]


def rules() -> list[Rule]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[Rule] = group["rules"]
    return found


def names() -> set[str]:
    return {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_workers_tell_and_has_a_page(rule: Rule) -> None:
    assert unknown_in(rule["expr"], known()) == []
    assert re.search(r"sluice_(?!pool\b)[a-z_]+(?!\{)\b[^{a-z_]", rule["expr"]) is None, (
        "the chart fills every {}"
    )
    assert rule["labels"]["severity"] in {"warning", "critical"}
    page = (RUNBOOKS / f"{rule['alert']}.md").read_text()
    assert rule["annotations"]["runbook"] == f"docs/runbooks/{rule['alert']}.md"
    assert page.startswith(f"# {rule['alert']}\n")
    for part in ("**It means**", "**Look**", "**Do**"):
        assert page.count(part) == 1, part


def test_every_page_has_an_alert_and_a_place_in_the_list() -> None:
    pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == names()
    listed = re.findall(
        r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE
    )
    assert dict(listed) == {rule["alert"]: rule["labels"]["severity"] for rule in rules()}


def test_thresholds_that_the_chart_replaces_are_there_once() -> None:
    text = RULES.read_text()
    assert [len(re.findall(rf"[0-9.]+ # {name}\b", text)) for name in THRESHOLDS] == [1] * len(THRESHOLDS)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    tests = [test for file in CASES for test in yaml.safe_load(file.read_text())["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names()
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names()


def test_prometheus_takes_the_rules() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert f"SUCCESS: {len(rules())} rules found" in done


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """Annotations hold values, which are not what the cases are about."""
    bare = [{key: value for key, value in rule.items() if key != "annotations"} for rule in rules()]
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump({"groups": [{"name": "sluice", "rules": bare}]}))
    for file in CASES:
        (tmp_path / file.name).write_text(file.read_text())
        assert "SUCCESS" in promtool("test", "rules", tmp_path / file.name)


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [parts.promtool(), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
