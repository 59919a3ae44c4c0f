"""What a run must remember to have its data back."""

from pydantic import BaseModel, ConfigDict


class RawVersion(BaseModel):
    """The pictures as they came: where they lay, which reading of which source it was, and DVC's pointer (empty where it is off)."""

    model_config = ConfigDict(frozen=True)

    folder: str
    pointer: str = ""
    fingerprint: str = ""


class DataVersion(BaseModel):
    """The catalog's content hash, and DVC's pointers to the pictures and to the catalog."""

    model_config = ConfigDict(frozen=True)

    version: str
    raw_pointer: str = ""
    catalog_pointer: str = ""
