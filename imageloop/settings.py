"""The base of every group of settings. Light on purpose: settings are checked before anything heavy loads."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen group of settings that refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
