"""Trials of a search as MLflow runs within that of the training."""

from imageloop.abandoned_work import process_mark
from imageloop.adapters.mlflow_tracking import PROCESS, flatten
from imageloop.training.settings import TrainingSettings
from imageloop.tuning.search_result import TrialResult


def mark_search() -> None:
    """Note which process searches, so that a later command can close the run of one that was killed."""
    import mlflow

    mlflow.set_tag(PROCESS, process_mark())


def log_trial(kind: str, number: int, settings: TrainingSettings, result: TrialResult | None) -> None:
    """Log a trial that has ended; without a result it was pruned or failed, and its run says so."""
    import mlflow
    from mlflow.entities import Metric, Param
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    parent = mlflow.active_run()
    if parent is None:
        return
    client = mlflow.MlflowClient()
    tags = {MLFLOW_PARENT_RUN_ID: parent.info.run_id, "trial": kind, "state": "complete" if result else "pruned or failed"}
    run = client.create_run(parent.info.experiment_id, tags=tags, run_name=f"{kind} {number}")
    now = run.info.start_time
    values = {
        "validation/loss": result.loss, "validation/accuracy": result.accuracy, "milliseconds": result.milliseconds, "seconds": result.seconds
    } if result else {}  # fmt: skip
    params = [Param(name, str(value)) for name, value in flatten({"model": settings.model.model_dump(mode="json")})]
    client.log_batch(run.info.run_id, [Metric(name, value, now, 0) for name, value in values.items()], params)
    client.set_terminated(run.info.run_id, "FINISHED" if result else "KILLED")
