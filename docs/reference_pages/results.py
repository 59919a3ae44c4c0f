"""The page of what commands print with --json."""

import dataclasses
import inspect
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter

from docs.reference_pages.markdown import code, page, table


def results() -> str:
    """The fields of each command's result."""
    from cli.training_text import TrainedAndDeployed
    from operations import (
        approval,
        backup,
        batch_prediction,
        comparison,
        data_restore,
        deployment,
        evaluation,
        monitoring,
        prediction,
        retained_images,
        scheduling,
        serving,
        training,
        tuning,
    )
    from operations.demo_loop import scenario

    types: dict[str, type] = {
        "train": training.TrainingResult, "train --deploy": TrainedAndDeployed, "tune": tuning.TuningResult,
        "predict": prediction.PredictionTable, "predict --pipeline": batch_prediction.BatchPrediction,
        "versions": approval.VersionList, "compare": comparison.Comparison, "approve": approval.Approval,
        "deploy": deployment.DeploymentResult, "status": serving.ServingStatus, "evaluate": evaluation.EndpointEvaluation,
        "rollback": serving.RollbackResult, "down": serving.StoppedDeployments, "monitor": monitoring.MonitoringRun,
        "watch": monitoring.WatchResult, "schedule": scheduling.Schedule, "schedule --remove": scheduling.RemovedSchedule,
        "demo-loop": scenario.DemoLoopResult, "restore": data_restore.RestoredData, "images key": retained_images.RetentionKey,
        "images list": retained_images.RetainedList, "images export": retained_images.ExportedImages,
        "images delete": retained_images.DeletedImages, "backup": backup.BackupResult, "restore-backup": backup.RestoredSite,
        "train, deploy on a stack that does not wait": training.SubmittedRun,
    }  # fmt: skip
    lead = "What each command prints with `--json`: the fields of its result. `render` prints the manifest itself."
    parts = []
    for name, result in types.items():
        if name == "train --deploy":
            parts.append(f"## {name}\n\nThe fields of `train`, and `deployment`: those of `deploy`.")
            continue
        doc = inspect.cleandoc(result.__doc__ or "")
        parts.append(f"## {name}\n\n{doc}\n\n" + table(["field", "type"], _result_rows(result)))
    return page("JSON results", lead, *parts)


def _result_rows(result: Any, prefix: str = "") -> list[list[str]]:
    if issubclass(result, BaseModel):
        hints = {name: field.annotation for name, field in result.model_fields.items()}
    else:
        known = get_type_hints(result)
        hints = {field.name: known[field.name] for field in dataclasses.fields(result)}
    rows = []
    for name, hint in hints.items():
        inner = [one for one in (*get_args(hint), hint) if dataclasses.is_dataclass(one) or _is_model(one)]
        rows.append([code(f"{prefix}{name}"), _hint_name(hint)])
        for one in inner:
            rows += _result_rows(one, f"{prefix}{name}[]." if get_args(hint) and "list" in str(hint) else f"{prefix}{name}.")
    return rows


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _hint_name(hint: Any) -> str:
    schema = TypeAdapter(hint).json_schema()
    options = schema.get("anyOf", [schema])
    names = [str(one.get("type") or ("object" if "$ref" in one else "any")) for one in options]
    return " or ".join(dict.fromkeys(names))
