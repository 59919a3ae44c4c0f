"""What a run must remember to have its data back."""

from pydantic import BaseModel, ConfigDict


class RawVersion(BaseModel):
    """The raw images: their folder, the fingerprint of the source when it was read, and DVC's pointer (empty where versioning is off)."""

    model_config = ConfigDict(frozen=True)

    folder: str
    pointer: str = ""
    fingerprint: str = ""


class DataVersion(BaseModel):
    """The catalog's content hash, and DVC's pointers to the images and to the catalog."""

    model_config = ConfigDict(frozen=True)

    version: str
    raw_pointer: str = ""
    catalog_pointer: str = ""
