"""What a run must remember to have its data back."""

from pydantic import BaseModel, ConfigDict


class RawVersion(BaseModel):
    """The pictures as they came: where they lay, and DVC's pointer to them (empty where DVC is off)."""

    model_config = ConfigDict(frozen=True)

    folder: str
    pointer: str = ""


class DataVersion(BaseModel):
    """The catalog's content hash, and DVC's pointers to the pictures and to the catalog."""

    model_config = ConfigDict(frozen=True)

    version: str
    raw_pointer: str = ""
    catalog_pointer: str = ""
