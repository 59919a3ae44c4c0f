"""Write the reports of a pipeline run as files that open in a browser: data, label issues, evaluation, decision, drift."""

import html
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageloop import html_pages
from imageloop.adapters.zenml_client import open_store
from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.monitoring.settings import MonitoringSettings
from imageloop.workspace_paths import Workspace
from operations.retained_images import images_of, retained_figure

logger = logging.getLogger(__name__)
NEWEST = 10  # trainings that are looked through
ENDINGS = {"html": ".html", "image": ".png"}
TITLES = {
    "catalog": "Images by class and split", "prepared": "Prepared images", "feedback": "Feedback data", "label_issues": "Label issues",
    "trained_model": "Losses by epoch", "calibration": "Calibration", "evaluation": "Evaluation on the test images",
    "search": "Search of settings", "images": "Images to predict", "summary": "Batch prediction",
    "verdict": "Decision of the gates", "package": "Package", "registration": "Registered version", "measurement": "Drift and model performance",
    "decision": "Decision of the monitor",
}  # fmt: skip


@dataclass(frozen=True)
class Reports:
    """The run, how it ended, and the files that were written, the index first."""

    run: str
    status: str
    folder: str
    files: list[str]


def write_reports(name: str | None, folder: Path | None, model_name: str | None = None) -> Reports:
    """Write the reports of a run to a folder, with an index.

    `name`: of a run of ZenML, or its id; by default the newest training, of any model or of `model_name`.

    Raises: ImageLoopError for a run that does not exist, or has no reports.
    """
    client = open_store()
    reports = Workspace.current().home / "reports"
    found = _find(client, name, model_name)
    for run in found:
        target = folder or reports / str(run.name)
        written = [*_write_all(client, run, target), *_write_unusual(run, target)]
        if written:
            break
    else:
        raise ImageLoopError(
            f"expected reports of the run '{found[0].name}', got none: its steps failed, or their artifacts were deleted; "
            f"name another run: {', '.join(_newest_names(client))}"
        )
    if run is not found[0]:
        newest = found[0]
        logger.warning(
            "the newest training '%s' (%s) has no reports; these are of '%s'", newest.name, newest.status.value, run.name
        )
    index = target / "index.html"
    links = "".join(f'<li><a href="{html.escape(file.name)}">{html.escape(title)}</a></li>' for title, file in written)
    with replacing(index) as aside:
        aside.write_text(html_pages.page(f"Run {run.name}", f"{run.pipeline.name}, {run.status.value}", f"<ul>{links}</ul>"))
    return Reports(str(run.name), str(run.status.value), str(target), [str(index), *(str(file) for _, file in written)])


def _find(client: Any, name: str | None, model_name: str | None) -> list[Any]:
    """The run of a name, or the newest trainings."""
    if name is None:
        model = {"model": model_name} if model_name else {}
        found = client.list_pipeline_runs(
            pipeline_name="training", sort_by="desc:created", size=NEWEST, hydrate=True, **model
        ).items
        if not found:
            of, given = (f" of model '{model_name}'", f" --model {model_name}") if model_name else ("", "")
            raise ImageLoopError(f"expected a training{of}, got none yet; run: python run.py train{given}")
        return list(found)
    try:
        return [client.get_pipeline_run(name)]
    except (KeyError, ValueError) as error:
        newest = _newest_names(client)
        raise ImageLoopError(f"expected a run of ZenML, got '{name}'; the newest are: {', '.join(newest) or 'none'}") from error


def _newest_names(client: Any) -> list[str]:
    """The newest runs that ended well."""
    found = client.list_pipeline_runs(sort_by="desc:created", size=5, status="completed").items
    return [str(run.name) for run in found]


def _write_all(client: Any, run: Any, target: Path) -> list[tuple[str, Path]]:
    """Write the pages and charts that the steps made; return the title and the file of each."""
    from zenml.artifacts.utils import load_artifact_visualization

    written = []
    for step in run.steps.values():
        for output, (artifact, *_) in step.outputs.items():
            for place, found in enumerate(artifact.visualizations or []):
                if output not in TITLES or found.type.value not in ENDINGS:
                    continue
                content = load_artifact_visualization(artifact, place, client.zen_store).value
                file = target / f"{output}{f'-{place + 1}' if place else ''}{ENDINGS[found.type.value]}"
                with replacing(file) as aside:
                    aside.write_bytes(content if isinstance(content, bytes) else content.encode())
                written.append((TITLES[output], file))
    return written


def _write_unusual(run: Any, target: Path) -> list[tuple[str, Path]]:
    """Write the page of the most unusual images of a monitoring run; only here, since retained images belong into no store."""
    if "measure" not in run.steps or run.steps["measure"].status.value not in ("completed", "cached"):
        return []
    step = run.steps["measure"]
    windows = step.outputs["measurement"][0].load().windows
    unusual = windows[-1].unusual if windows else []
    images = images_of(MonitoringSettings.model_validate(step.config.parameters["settings"]), {one.request_id for one in unusual})
    figures = [
        retained_figure(images[one.request_id], f"{one.label}, distance {one.novelty:.3g}: {one.request_id}")
        for one in unusual
        if one.request_id in images
    ]
    if not figures:
        return []
    lead = f"Of the {len(unusual)} images of the newest window that are farthest from the training data, {len(figures)} were retained."
    file = target / "unusual_images.html"
    with replacing(file) as aside:
        aside.write_text(html_pages.page("Most unusual images", lead, html_pages.grid(figures)))
    return [("Most unusual images", file)]
