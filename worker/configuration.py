"""Loads the settings, and says in words what is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError as SourceError

from worker.errors import SettingsError
from worker.settings import CONFIG_VARIABLE, NESTING, PREFIX, Settings, environment


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from all their sources; ``overrides`` are the strongest.

    Raises SettingsError that names each variable at fault, what it was given and what is accepted.
    """
    variables = environment()
    config = variables.get(CONFIG_VARIABLE)
    if config and not Path(config).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} is {config!r}, and there is no such file")
    problems = list(_misspelt_variables(variables))
    if problems:
        raise SettingsError("\n".join(problems))
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error))) from None
    except yaml.MarkedYAMLError as error:  # without its snippet, which may hold a secret
        raise SettingsError(f"{config} is not YAML: {error.problem}{error.problem_mark or ''}") from None
    except (SourceError, OSError, ValueError) as error:
        raise SettingsError(f"the settings cannot be read: {error}") from error


def variable_name(path: tuple[str, ...]) -> str:
    """('kafka', 'group_id') -> SLUICE_KAFKA__GROUP_ID"""
    return PREFIX + NESTING.join(path).upper()


def fields() -> Iterator[tuple[tuple[str, str], FieldInfo]]:
    """Every setting, as its path in the tree and its pydantic field."""
    for group_name, group_field in Settings.model_fields.items():
        group = group_field.annotation
        assert isinstance(group, type)
        assert issubclass(group, BaseModel)
        for name, field in group.model_fields.items():
            yield (group_name, name), field


def is_secret(field: FieldInfo) -> bool:
    """Whether the setting's value must not be shown."""
    return field.annotation is SecretStr or SecretStr in getattr(field.annotation, "__args__", ())


def masked(settings: Settings) -> dict[str, Any]:
    """The effective settings as plain data; secrets that are set read `**********`."""
    return settings.model_dump(mode="json")


def _misspelt_variables(environment: Mapping[str, str]) -> Iterator[str]:
    known = {variable_name(path) for path, _ in fields()} | {CONFIG_VARIABLE}
    groups = tuple(f"{PREFIX}{name}_".upper() for name in Settings.model_fields)
    for variable in sorted(environment):
        if variable.upper() in known:
            continue
        near = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.85)
        if near or NESTING in variable or variable.startswith(groups):
            near = near or difflib.get_close_matches(variable.upper(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "`sluice config` lists them all"
            yield f"{variable} is not a setting: {hint}"


def _explain(error: ValidationError) -> Iterator[str]:
    described: dict[tuple[str, ...], FieldInfo] = dict(fields())
    for problem in error.errors(include_url=False):
        path = tuple(str(part) for part in problem["loc"])
        field = described.get(path[:2])
        if field is None:
            yield f"{variable_name(path)} is not a setting: `sluice config` lists them all"
            continue
        given = "a value that is not shown" if is_secret(field) else repr(problem["input"])
        about = f" ({field.description})" if field.description else ""
        yield f"{variable_name(path[:2])} was given {given}: {problem['msg']}{about}"
