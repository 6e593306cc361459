"""Writes what in the chart follows from something else: ``python -m helm.generate``; a test holds it.

values.yaml           the blocks of settings and secrets    from worker/settings.py
values.schema.json    the same, checked strictly            from worker/settings.py
README.md             the table of values                   from the comments of values.yaml
dashboards/           Grafana's JSON                        from panels.yaml
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from helm import boards
from worker.configuration import fields, is_secret
from worker.reference import SettingPath, defaults, meaning, setting_schemas

CHART = Path(__file__).resolve().parent
MAY_BE_SECRET: frozenset[SettingPath] = frozenset({("kafka", "sasl_username")})
"""Usually kept beside their secret, and accepted in both places."""

_BLOCK = re.compile(r"(?ms)^(  # --- generated: (\w+) ---\n).*?^(  # --- end ---\n)")
FOREIGN = frozenset({"resources", "strategy"})
"""Maps that Kubernetes defines: one value to us."""


def files() -> dict[Path, str]:
    """Path -> text, from what is on disk."""
    values = with_blocks((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["$defs"] |= definitions()
    readme = (CHART / "README.md").read_text().partition("## Values\n")[0]
    return {
        CHART / "values.yaml": values,
        CHART / "values.schema.json": json.dumps(schema, indent=2) + "\n",
        CHART / "README.md": f"{readme}## Values\n\n{table(values)}",
        **boards.files(),
    }


def with_blocks(values: str) -> str:
    """``values.yaml`` with its generated blocks made anew."""
    blocks = {"settings": "".join(_settings_block()), "secrets": "".join(_secrets_block())}
    return _BLOCK.sub(lambda found: found[1] + blocks[found[2]] + found[3], values)


def definitions() -> dict[str, Any]:
    """JSON Schemas of `settings` and `secrets`."""
    settings: dict[str, Any] = {}
    secrets: dict[str, Any] = {}
    schemas = setting_schemas()
    for path, field in fields():
        group, name = path
        if is_secret(field) or path in MAY_BE_SECRET:
            secrets.setdefault(group, {})[name] = {"$ref": "#/$defs/secretKey", "description": meaning(field)}
        if not is_secret(field):
            settings.setdefault(group, {})[name] = {**schemas[path], "description": meaning(field)}
    settings["telemetry"]["port"]["minimum"] = 1  # probes must know it
    return {"settings": _groups(settings), "secrets": _groups(secrets)}


def table(values: str) -> str:
    """Markdown: every value that has no values below it."""
    rows = [f"| `{path}` | {default} | {comment} |\n" for path, default, comment in described(values)]
    return "| Value | Default | |\n|---|---|---|\n" + "".join(rows)


def described(values: str) -> Iterator[tuple[str, str, str]]:
    """(path, default as JSON, comment) of every value; of a map, which has no default, if it has a comment.

    Raises ValueError for a value without a comment.
    """
    lines = values.splitlines()
    for path, line, node in _nodes(yaml.compose(values, yaml.SafeLoader), ()):
        comment = _comment_above(lines, line)
        if node is not None:
            if not comment:
                raise ValueError(f"{path} has no comment in values.yaml")
            yield path, f"`{json.dumps(yaml.safe_load(yaml.serialize(node)))}`", comment
        elif comment:
            yield path, "", comment


def _nodes(tree: yaml.Node | None, above: tuple[str, ...]) -> Iterator[tuple[str, int, yaml.Node | None]]:
    """(path, line of its key, node) of every value; None for the node of a map with values of ours below."""
    assert isinstance(tree, yaml.MappingNode)
    for key, value in tree.value:
        path = (*above, key.value)
        is_map = isinstance(value, yaml.MappingNode) and not value.flow_style and key.value not in FOREIGN
        yield ".".join(path), key.start_mark.line, None if is_map else value
        if is_map:
            yield from _nodes(value, path)


def _comment_above(lines: list[str], line: int) -> str:
    first = line
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(text.lstrip(" #") for text in lines[first:line])


def _settings_block() -> Iterator[str]:
    shown = [(path, field) for path, field in fields() if not is_secret(field)]
    return _block(shown, lambda group, name: json.dumps(defaults()[group][name]))


def _secrets_block() -> Iterator[str]:
    shown = [(path, field) for path, field in fields() if is_secret(field) or path in MAY_BE_SECRET]
    return _block(shown, lambda group, name: f'{{existingSecret: "", key: {name}}}')


def _block(shown: Iterable[tuple[SettingPath, FieldInfo]], value: Callable[[str, str], str]) -> Iterator[str]:
    """Lines of YAML by group, each setting under its meaning."""
    last = ""
    for (group, name), field in shown:
        if group != last:
            last = group
            yield f"  {group}:\n"
        yield f"    # {meaning(field)}\n"
        yield f"    {name}: {value(group, name)}\n"


def _groups(groups: dict[str, Any]) -> dict[str, Any]:
    def closed(properties: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": False, "properties": properties}

    return closed({group: closed(properties) for group, properties in groups.items()})


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
