"""The names of ZenML's runs, and the end of those whose process was killed: ZenML would show them as running for ever."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imageloop.abandoned_work import is_abandoned, process_mark
from imageloop.adapters.zenml_client import runs_elsewhere
from imageloop.workspace_paths import Workspace

if TYPE_CHECKING:
    from zenml.client import Client

logger = logging.getLogger(__name__)
REASON = "the process that ran it was killed"


@contextmanager
def named_run(client: "Client", pipeline: str, subject: str, workspace: Workspace) -> Iterator[str]:
    """Yield the name of a run: the pipeline, the model or deployment, and the time. Runs that killed processes of this site left are ended first.

    A mark names the run and its process until the block ends, in whatever way; a run on a cluster goes on without this process.
    """
    name = f"{pipeline}-{subject}-{time.strftime('%Y_%m_%d-%H_%M_%S')}_{time.time_ns() // 1000 % 1_000_000:06d}"
    if runs_elsewhere(client):
        yield name
        return
    folder = workspace.state / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    end_abandoned_runs(client, folder)
    mark = folder / name.replace("/", "_")
    mark.write_text(f"{name}\n{process_mark()}")
    try:
        yield name
    finally:
        mark.unlink(missing_ok=True)


def end_abandoned_runs(client: "Client", folder: Path) -> None:
    """Mark the runs as failed that still say that they run, and whose process on this machine is gone."""
    for mark in folder.iterdir():
        name, _, process = mark.read_text().partition("\n")
        if not is_abandoned(process):
            continue
        try:
            _end(client, name)
        except KeyError:
            logger.debug("the run '%s' was killed before ZenML had it", name)
        mark.unlink(missing_ok=True)


def _end(client: "Client", name: str) -> None:
    from zenml.enums import ExecutionStatus
    from zenml.models import PipelineRunUpdate, StepRunUpdate

    run = client.get_pipeline_run(name, allow_name_prefix_match=False)
    if run.status.is_finished:
        return
    for step in run.steps.values():
        if not step.status.is_finished:
            client.zen_store.update_run_step(step.id, StepRunUpdate(status=ExecutionStatus.FAILED))
    client.zen_store.update_run(run.id, PipelineRunUpdate(status=ExecutionStatus.FAILED, status_reason=REASON))
    logger.info("closed the run '%s', whose process was killed", name)
