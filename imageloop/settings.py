"""The base of every group of settings. Light on purpose: settings are checked before anything heavy loads."""

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen group of settings that refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def is_url(location: str) -> bool:
    """Whether a location is an http(s) URL."""
    return re.match(r"https?://", location) is not None


def absolute(location: str) -> str:
    """A path from the root, and an address as it is."""
    return location if "://" in location else str(Path(location).expanduser().absolute())


def deployment_of(model: str) -> str:
    """The name of a model's deployment, which Kubernetes wants in lower case and with hyphens."""
    return model.lower().replace("_", "-").strip("-")
