"""The settings of a method that has none: apart, so that the registry is imported without pydantic."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class NoSettings(BaseModel):
    """The settings of a method that has none of its own."""

    model_config = ConfigDict(extra="forbid")
