"""The policy file: YAML, versioned, every key checked.

version: 1                    # of this format
revision: "2026-11-24"        # yours; verdicts carry it with the file's digest
policies:
  default:
    labels:
      violence: {review: 0.30, block: 0.95, prevalence: 0.02, band: [0.10, 0.80]}
  kids:
    description: nothing that is doubtful
    labels:
      violence: {review: 0.05, block: 0.50}
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from models.spec import Name, Probability
from worker.errors import PolicyInvalid

MAX_FILE_BYTES = 1024 * 1024


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LabelPolicy(_Strict):
    """What one policy says of one label. Nothing: the models' defaults."""

    review: Probability | None = Field(None, description="at or above: a person looks at it")
    block: Probability | None = Field(None, description="at or above: it does not go up")
    band: tuple[Probability, Probability] | None = Field(None, description="[low, high) escalates")
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="share of uploads expected to show the label; None: as in training"
    )
    ignore: bool = Field(False, description="the label plays no part in this policy")

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.review is not None and self.block is not None and self.review > self.block:
            raise ValueError(f"review {self.review} must not be above block {self.block}")
        if self.band is not None and self.band[0] > self.band[1]:
            raise ValueError(f"band {list(self.band)}: low must not be above high")
        return self


class NamedPolicy(_Strict):
    description: str = ""
    labels: dict[Name, LabelPolicy] = Field(default_factory=dict)


class PolicyFile(_Strict):
    version: Literal[1] = Field(description="of the file's format")
    revision: str = Field(min_length=1, max_length=64, description="yours; verdicts carry it")
    policies: dict[Name, NamedPolicy] = Field(min_length=1)

    _path: str = PrivateAttr(default="policy file")
    _digest: str = PrivateAttr(default="")

    @property
    def path(self) -> str:
        return self._path

    @classmethod
    def parse(cls, data: bytes, path: str = "policy file") -> PolicyFile:
        """Raises PolicyInvalid naming the file, the path inside it, what was found and what is accepted."""
        try:
            parsed = cls.model_validate(yaml.load(data, _UniqueKeyLoader))  # noqa: S506 - a SafeLoader
        except yaml.YAMLError as error:
            raise PolicyInvalid(f"{path}: not YAML: {error}") from error
        except (ValidationError, RecursionError) as error:
            raise PolicyInvalid(f"{path}: {_explain(error)}") from error
        parsed._path = path
        parsed._digest = hashlib.sha256(data).hexdigest()
        return parsed

    @property
    def version_name(self) -> str:
        """What verdicts name: the revision, and the digest that tells when it was forgotten to be raised."""
        return f"{self.revision}+{self._digest[:12]}"


def read_policy_file(path: Path) -> PolicyFile:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PolicyInvalid(f"{path}: cannot be read: {error.strerror}; check `policy.file`") from error
    if len(data) > MAX_FILE_BYTES:
        raise PolicyInvalid(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    return PolicyFile.parse(data, str(path))


class _UniqueKeyLoader(yaml.SafeLoader):
    """A key given twice is a mistake that YAML would settle silently by the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.constructor.ConstructorError(
                None, None, f"keys given twice: {', '.join(repeated)}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _explain(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "; ".join(
        f"{'.'.join(map(str, detail['loc'])) or 'file'}: {detail['msg']}{_hint(detail)}"
        for detail in error.errors(include_url=False)
    )


def _hint(detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        accepted = _accepted_keys(detail["loc"])
        return f" (accepted: {', '.join(accepted)})"
    return f" (found {detail['input']!r:.80})" if not isinstance(detail["input"], dict) else ""


def _accepted_keys(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The model that an unknown key lies in follows from its depth."""
    models: dict[int, type[_Strict]] = {1: PolicyFile, 3: NamedPolicy}
    model = models.get(len(loc), LabelPolicy)
    return tuple(model.model_fields)
