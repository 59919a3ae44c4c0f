"""Which versions there are, and who serves."""

from typing import Any

from imageloop.adapters.zenml_client import open_store
from imageloop.workspace_paths import Workspace


def approve(model_name: str, version: str) -> dict[str, Any]:
    """Make a version that passed its gates the champion."""
    open_store()
    from imageloop.lifecycle.promotion import approve_version
    from imageloop.lifecycle.rollback import tell_of_rollbacks

    workspace = Workspace.current()
    tell_of_rollbacks(workspace)
    before = approve_version(model_name, version, workspace)
    return {"model_name": model_name, "champion": version, "before": before}


def describe_approval(result: dict[str, Any]) -> str:
    return f"version {result['champion']} of '{result['model_name']}' is the champion now; before: {result['before'] or 'none'}"


def versions(model_name: str) -> dict[str, Any]:
    """All versions, the newest first."""
    open_store()
    from imageloop.adapters.mlflow_registry import ModelRegistry

    registry = ModelRegistry(model_name)
    rows = [vars(version) for version in registry.versions()]
    return {"model_name": model_name, "champion": registry.champion(), "versions": rows}


def describe_versions(result: dict[str, Any]) -> str:
    if not result["versions"]:
        return f"'{result['model_name']}' has no versions yet; python run.py train makes the first"
    marks = {result["champion"]: "champion"}
    rows = [
        f"{row['version']:>4}  {marks.get(row['version'], {'hold': 'waits', 'rollback': 'refused'}.get(row['verdict'], '')):<9} {row['reason']}"
        for row in result["versions"]
    ]
    return "\n".join(rows)
