"""Bring back the pictures and the catalog of a run, byte for byte."""

from pathlib import Path
from typing import Any

from imageloop.adapters.zenml_client import open_store
from imageloop.workspace_paths import Workspace


def restore(run_id: str, target: Path, remote: str | None) -> dict[str, Any]:
    """From what the run recorded and the DVC remote alone, whatever the working folder and Git hold."""
    open_store()
    from imageloop.adapters import dvc, mlflow_tracking

    workspace = Workspace.current()
    pointers = {
        "pictures": mlflow_tracking.read_file(run_id, mlflow_tracking.RAW_POINTER),
        "catalog.parquet": mlflow_tracking.read_file(run_id, mlflow_tracking.CATALOG_POINTER),
    }
    for name, pointer in pointers.items():
        dvc.restore(pointer, target / name, workspace, remote)
    return {"run": run_id, "folder": str(target), "files": sum(path.is_file() for path in (target / "pictures").rglob("*"))}


def describe(result: dict[str, Any]) -> str:
    return f"{result['files']:,} pictures and the catalog of run {result['run']} are in {result['folder']}"
