"""What all sections share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the field."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
