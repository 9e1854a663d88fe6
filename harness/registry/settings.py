"""The settings of a method that has none of its own."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class NoSettings(BaseModel):
    """No setting; any name is refused."""

    model_config = ConfigDict(extra="forbid")
