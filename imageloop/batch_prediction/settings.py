"""Settings of a batch prediction."""

from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator

from imageloop.monitoring.drift_settings import DriftSettings
from imageloop.settings import Settings

DAY = "{date}"


def is_address(name: str) -> bool:
    """Whether it is an address that any machine can read, such as `s3://bucket/images`, and no path of this one."""
    return "://" in name and not name.startswith("file://")


def is_only_here(name: str) -> bool:
    """Whether this machine alone can read it: a path, or retained images, which lie beside the records."""
    return not is_address(name) or name.startswith("records://")


class BatchPredictionSettings(Settings):
    """The settings of `python run.py predict --pipeline`."""

    inputs: list[str] = Field(
        [],
        description="folders and images, by path or by an address of fsspec (`s3://bucket/folder`); a .txt, .csv, .jsonl or .parquet file is "
        "a manifest with a path in each line, or in its column `path`; `records://NAMESPACE/NAME?QUERY`: retained images of a deployment",
    )
    output: str | None = Field(
        None,
        description="the folder or address for the Parquet files; by default below `predictions/`, by a hash of images and version; `{date}` here "
        "and in inputs is the day of the run (UTC), as 2026-11-30",
    )
    model_name: str = "imageloop"
    version: str | None = Field(None, description="by default the champion")
    exact: bool = Field(False, description="fp32 even where int8 passed its gate")
    part_images: int = Field(
        2000, ge=1, description="images of one Parquet file; after an interruption only whole files are kept"
    )
    max_sampled: int = Field(
        1000, ge=0, description="images, evenly spaced, whose embedding and statistics are stored: the drift test compares them"
    )
    drift: DriftSettings = DriftSettings()

    @field_validator("inputs")
    @classmethod
    def absolute_inputs(cls, inputs: list[str]) -> list[str]:
        return [_absolute(name) for name in inputs]

    @field_validator("output")
    @classmethod
    def absolute_output(cls, output: str | None) -> str | None:
        return None if output is None else _absolute(output)

    def of_day(self, start: datetime) -> Self:
        """These settings for a run that began at `start`: with its day where they name one."""
        day = start.strftime("%Y-%m-%d")
        return self.model_copy(
            update={
                "inputs": [name.replace(DAY, day) for name in self.inputs],
                "output": self.output and self.output.replace(DAY, day),
            }
        )


def _absolute(name: str) -> str:
    return name if is_address(name) else str(Path(name.removeprefix("file://")).expanduser().absolute())
