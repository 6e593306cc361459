"""What the runbooks tell people to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.observability.test_alerts import RUNBOOKS
from worker.cli import cli
from worker.commands.filters import require_filter

PAGES = sorted(RUNBOOKS.glob("*.md"))
SPELT_OUT = "README.md#commands"


def typed(page: Path) -> list[str]:
    """Lines of blocks, and code within a line."""
    text = page.read_text()
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", rest)


def ours(code: str) -> list[str] | None:
    """Arguments of `sluice`, be it in a pod; None for what is no command, and for the name of any of them."""
    found = re.search(r"(?:^|-- )sluice ([a-z].*)$", code)
    return None if found is None else shlex.split(found[1])


COMMANDS = [(page.stem, arguments) for page in PAGES for code in typed(page) if (arguments := ours(code))]


@pytest.mark.parametrize(
    ("page", "arguments"), COMMANDS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_command_of_ours_is_taken(page: str, arguments: list[str]) -> None:
    command: click.Command = cli
    while isinstance(command, click.Group) and arguments:
        name, *arguments = arguments
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"{page}: there is no {name}"
        command = found
    said = command.make_context(command.name, arguments).params  # raises what the command line would
    if "everything" in said:
        wanted = {
            name: value for name, value in said.items() if name not in {"everything", "broker", "dry_run"}
        }
        require_filter(said["everything"], **wanted)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_foreign_commands_say_where(page: Path) -> None:
    codes = typed(page)
    for code in codes:
        if re.match(r"(kubectl|helm) ", code):
            assert " -n moderation " in code, code
        if code.startswith("kafka-"):
            assert " --bootstrap-server " in code, code
    if page.stem != "README" and any(ours(code) or code.startswith("kubectl ") for code in codes):
        assert SPELT_OUT in page.read_text(), "how to reach a worker"


def test_there_are_commands() -> None:
    pages = {page for page, _ in COMMANDS}
    assert {"README", "SluiceDeadLetters", "SluiceNoWorkers"} <= pages
