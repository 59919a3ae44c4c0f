"""Restore the images and the catalog of a run, byte for byte."""

from dataclasses import dataclass
from pathlib import Path

from imageloop.adapters.zenml_client import open_store
from imageloop.workspace_paths import Workspace


@dataclass(frozen=True)
class RestoredData:
    """The folder of a run's data, and its number of image files."""

    run: str
    folder: str
    files: int


def restore(run_id: str, target: Path, remote: str | None) -> RestoredData:
    """Restore from the record of the run and the DVC remote alone, whatever the working folder and Git hold.

    Raises: ImageLoopError where MLflow has no such run, or the remote lacks a file.
    """
    open_store()
    from imageloop.adapters import dvc, mlflow_tracking

    workspace = Workspace.current()
    pointers = {
        "images": mlflow_tracking.read_file(run_id, mlflow_tracking.RAW_POINTER),
        "catalog.parquet": mlflow_tracking.read_file(run_id, mlflow_tracking.CATALOG_POINTER),
    }
    for name, pointer in pointers.items():
        dvc.restore(pointer, target / name, workspace, remote)
    return RestoredData(run_id, str(target), sum(path.is_file() for path in (target / "images").rglob("*")))
