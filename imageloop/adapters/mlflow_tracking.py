"""MLflow tracking: epochs and evaluations become parameters, metrics, figures and tags."""

import importlib.metadata
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imageloop.abandoned_work import is_abandoned, process_mark
from imageloop.adapters.sqlite_files import check_sqlite_file, sqlite_file
from imageloop.atomic_files import replacing
from imageloop.data.data_version import DataVersion
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
RAW_POINTER = "data/raw.dvc"
PROCESS = "process"  # the tag: host and process that train
CATALOG_POINTER = "data/catalog.parquet.dvc"


def connect() -> str:
    """Point MLflow at the tracker of the active stack, whichever that is, and return its address.

    Raises: SettingsError if the active stack has no MLflow tracker.
    """
    from zenml.client import Client

    stack = Client().active_stack
    tracker = stack.experiment_tracker
    if tracker is None or tracker.flavor != "mlflow":
        raise SettingsError(
            f"expected a stack with an MLflow tracker, got '{stack.name}' without one; run: zenml stack set local"
        )
    address = str(tracker.get_tracking_uri())
    _refuse_unusable_database(address, Workspace.current())
    tracker.configure_mlflow()
    return address


def _refuse_unusable_database(address: str, workspace: Workspace) -> None:
    """Raises: DatabaseFileError, SettingsError for a database on this machine that is locked, damaged, newer, or gone from its packages."""
    file = sqlite_file(address)
    if file is None:
        return
    packages = workspace.state / "mlartifacts"
    if not file.exists() and packages.is_dir() and any(packages.iterdir()):
        raise SettingsError(
            f"expected MLflow's database at '{file}', got no file, though the packages of its versions are in '{packages}'; restore it "
            "from a backup, or move that folder away to begin anew"
        )
    check_sqlite_file(
        file, "mlflow", "restore it from a backup (python run.py restore-backup), or move it away with its packages"
    )


def ensure_experiment(tracking_uri: str, name: str, workspace: Workspace) -> None:
    """Create the experiment with an artifact folder of this site, instead of one in the working directory."""
    file = sqlite_file(tracking_uri)
    if file is None:
        return
    import mlflow

    _make_database(file, workspace)
    client = mlflow.MlflowClient(tracking_uri)
    if client.get_experiment_by_name(name) is None:
        try:
            client.create_experiment(name, artifact_location=(workspace.state / "mlartifacts").as_uri())
        except mlflow.MlflowException:  # another run was faster
            if client.get_experiment_by_name(name) is None:
                raise


def close_abandoned_runs(name: str) -> None:
    """End the runs of an experiment that still say RUNNING and whose process on this machine is gone: they would say so for ever."""
    import mlflow

    client = mlflow.MlflowClient(connect())
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return
    for run in client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"):
        if is_abandoned(run.data.tags.get(PROCESS, "")):
            client.set_terminated(run.info.run_id, "KILLED")
            logger.info("closed the MLflow run '%s', whose process was killed", run.info.run_name)


def _make_database(file: Path, workspace: Workspace) -> None:
    """Create MLflow's database aside and rename it: a creation that is killed in place leaves it broken."""
    import mlflow

    with workspace.lock("mlflow"):
        if not file.exists():
            with replacing(file) as aside:
                mlflow.MlflowClient(f"sqlite:///{aside}").search_experiments()


@contextmanager
def run_of(run_id: str) -> Iterator[None]:
    """Log to an existing MLflow run: later results belong to the run that trained the model, whose end stays where it was."""
    import mlflow

    connect()
    client = mlflow.MlflowClient()
    before = client.get_run(run_id).info
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        yield
    if before.end_time:  # MLflow would show a run that a later step or a cached rerun has opened as one of hours
        client.set_terminated(run_id, before.status, before.end_time)


def log_parameters(values: dict[str, Any]) -> None:
    """Nested settings as parameters `a.b.c`."""
    import mlflow

    mlflow.log_params(dict(flatten(values)))


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def log_metrics(values: dict[str, float]) -> None:
    import mlflow

    mlflow.log_metrics({metric_name(name): float(value) for name, value in values.items()})


def log_files(files: dict[str, Any]) -> None:
    """Texts, tables and figures under the paths that are their keys."""
    import mlflow
    from matplotlib.figure import Figure

    for path, content in files.items():
        match content:
            case str():
                mlflow.log_text(content, path)
            case Figure():
                mlflow.log_figure(content, path)
            case dict() | list():
                mlflow.log_dict(content, path)


def active_run_id() -> str:
    """Raises: ImageLoopError outside a tracked step."""
    import mlflow

    run = mlflow.active_run()
    if run is None:
        raise ImageLoopError("expected a run of MLflow, got none; the step needs experiment_tracker=True")
    return str(run.info.run_id)


def set_tags(values: dict[str, str]) -> None:
    import mlflow

    mlflow.set_tags(values)


def read_file(run_id: str, path: str) -> str:
    """The text of a file that a run logged.

    Raises: ImageLoopError if there is no such run or file.
    """
    import mlflow

    connect()
    try:
        return str(mlflow.artifacts.load_text(f"runs:/{run_id}/{path}"))
    except (mlflow.MlflowException, OSError) as error:
        raise ImageLoopError(
            f"expected '{path}' of the run '{run_id}', got none; `mlflow runs list` and the dashboard show the runs"
        ) from error


def metric_name(name: str) -> str:
    """MLflow allows letters, digits and a few signs; class names may hold anything."""
    return "".join(sign if sign.isalnum() or sign in "_-. /" else "_" for sign in name)


def name_run(run_id: str, name: str, description: str) -> None:
    """Give a run the name and the description that MLflow's lists show."""
    import mlflow

    client = mlflow.MlflowClient()
    client.set_tag(run_id, "mlflow.runName", name)
    client.set_tag(run_id, "mlflow.note.content", description)


def log_dataset(name: str, version: str, counts: dict[str, int]) -> None:
    """Log the data set of a run, as MLflow's column of data sets shows it; `counts`: images by split."""
    import mlflow
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    source = CodeDatasetSource(
        tags={"data_version": version} | {f"images.{split}": str(count) for split, count in counts.items()}
    )
    mlflow.log_input(MetaDataset(source, name=name, digest=version[:8]), context="training")


def describe_run(training: dict[str, Any], data_version: DataVersion) -> None:
    """Log what is needed to repeat a run: settings, data with their DVC pointers, environment."""
    log_parameters({"training": training, "data_version": data_version.version})
    set_tags({"data_version": data_version.version, PROCESS: process_mark()})
    described = (found.metadata for found in importlib.metadata.distributions())  # each use of it reads the file again
    packages = sorted(f"{found['Name']}=={found['Version']}" for found in described)
    files = {"environment/packages.txt": "\n".join(packages), "environment/python.txt": sys.version}
    if data_version.raw_pointer:
        files |= {RAW_POINTER: data_version.raw_pointer, CATALOG_POINTER: data_version.catalog_pointer}
    log_files(files)
