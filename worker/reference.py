"""Generates the settings reference: ``python -m worker.reference docs/settings.md``; a test holds it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from worker.configuration import fields, is_secret, variable_name
from worker.settings import CONFIG_VARIABLE, Settings

SettingPath = tuple[str, str]
MiB = 1024 * 1024

HEAD = f"""# Settings

Written by `make schemas` from `worker/settings.py`. Each setting is a variable of the environment; `.env` and the YAML file named by `{CONFIG_VARIABLE}` are read as well, and the environment is the strongest. In the YAML file the names are those after the prefix, in lower case: `SLUICE_KAFKA__GROUP_ID` is `group_id` below `kafka`. The [chart](../helm/README.md) takes the same names below `settings`, and secrets from a Secret.
"""  # noqa: E501 - a paragraph is one line


def meaning(field: FieldInfo) -> str:
    """The description, for readers who write texts rather than Python."""
    return (field.description or "").replace("None:", "empty:")


def setting_schemas() -> dict[SettingPath, dict[str, Any]]:
    """Every setting and the JSON schema of its value; one that may be absent takes an empty text instead."""
    definitions, tree = Settings.model_json_schema()["$defs"], Settings.model_construct()
    return {
        (group, name): _plain(definitions[type(getattr(tree, group)).__name__]["properties"][name])
        for (group, name), _ in fields()
    }


def defaults() -> dict[str, Any]:
    """The defaults as a YAML file would state them: absent values are empty texts."""
    tree = Settings.model_construct().model_dump(mode="json")
    return {
        group: {name: "" if value is None else value for name, value in values.items()}
        for group, values in tree.items()
    }


def markdown() -> str:
    return HEAD + "".join(_lines())


def _lines() -> Iterator[str]:
    schemas, group = setting_schemas(), ""
    for path, field in fields():
        if path[0] != group:
            group = path[0]
            yield f"\n## {group}\n\n| Variable | Default | Accepts | |\n|---|---|---|---|\n"
        default = defaults()[group][path[1]]
        accepts = "secret" if is_secret(field) else accepted(schemas[path[0], path[1]])
        yield f"| `{variable_name(path)}` | {_shown(default)} | {accepts} | {meaning(field)} |\n"


def accepted(schema: Mapping[str, Any]) -> str:
    """`integer, 1 to 64`."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return "texts"
    low, high = schema.get("minimum"), schema.get("maximum")
    over = schema.get("exclusiveMinimum")
    bounds = [f"above {over}"] if over is not None else []
    if low is not None:
        bounds.append(f"{low} to {high}" if high is not None else f"at least {low}")
    elif high is not None:
        bounds.append(f"at most {high}")
    if schema.get("minLength"):
        bounds.append("not empty")
    kinds = {"string": "text", "integer": "integer", "number": "number", "boolean": "`true`, `false`"}
    return ", ".join([kinds[schema["type"]], *bounds])


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Without what only pydantic reads; ``X or null`` becomes X, which an empty text stands for."""
    found = dict(schema)
    for option in found.pop("anyOf", ()):
        if option.get("type") != "null":
            found |= option
    if found.get("type") == "array":
        found["items"] = {"type": "string"}
        for key in ("minItems", "maxItems"):
            found.pop(key, None)
    return {
        key: value for key, value in found.items() if key not in {"title", "default", "format", "writeOnly"}
    }


def _shown(value: Any) -> str:
    if value in ("", []):
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and value >= MiB and value % MiB == 0:
        return f"`{value}` ({value // MiB} MiB)"
    return f"`{value}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown())
