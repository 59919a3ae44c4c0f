"""The labels that await approval: list them with their images, accept or reject them."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imageloop import html_pages
from imageloop.adapters.zenml_client import open_store
from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.workspace_paths import Workspace
from operations.retained_images import images_of, retained_figure
from seldon.delivery.deployer.active_deployer import active_cluster, active_deployer

if TYPE_CHECKING:
    import pandas as pd

    from imageloop.records.store.label_reviews import Decision
    from steps.pipeline_settings import MonitorSettings

PAGE = "labels.html"


@dataclass(frozen=True)
class SuspiciousLabel:
    """A label that trains nothing until a user accepts it. `time`: of the prediction, in Unix seconds."""

    request_id: str
    time: float
    source: str
    predicted: str
    label: str
    reason: str


@dataclass(frozen=True)
class LabelSource:
    """How many labels a source sent, and how many of them await approval."""

    name: str
    labels: int
    suspicious: int


@dataclass(frozen=True)
class LabelReview:
    """The sources and their suspicious labels. `awaiting`: why a retraining would not use any label; `page`: the file that shows them,
    with `images` retained images. `unmatched`: labels of any model whose requests have no prediction.
    """

    model_name: str
    sources: list[LabelSource]
    labels: list[SuspiciousLabel]
    awaiting: str | None
    images: int
    page: str | None
    unmatched: int


@dataclass(frozen=True)
class ReviewedLabels:
    """The number of labels that were accepted or rejected. `unknown`: requests without a label."""

    decision: str
    labels: int
    unknown: list[str]


def listing(settings: "MonitorSettings", to: Path | None) -> LabelReview:
    """Judge the labels as a retraining would, and list by source those that train nothing; with `to` as a page with retained images.

    Raises: ImageLoopError without a champion that labels can be compared with.
    """
    from imageloop.lifecycle.label_review import judge_labels

    open_store()
    settings = settings.on(active_cluster())
    unmatched = _collect(settings)
    name = settings.monitoring.model_name
    feedback = settings.training.feedback.model_copy(update={"database": settings.monitoring.database})
    judged = judge_labels(feedback, name, Workspace.current())
    table = judged.labelled
    suspicious = table[table["role"] == "quarantined"].sort_values(["feedback_source", "time"])
    counts, awaiting = table["feedback_source"].value_counts(), suspicious["feedback_source"].value_counts()
    sources = [LabelSource(str(source), int(count), int(awaiting.get(source, 0))) for source, count in counts.items()]
    images = images_of(settings.monitoring, set(suspicious["request_id"])) if to is not None else {}
    page = _write_page(to, suspicious, images, judged.suspicion(feedback)) if to is not None else None
    labels = [
        SuspiciousLabel(row.request_id, float(row.time), row.feedback_source, row.label, row.ground_truth, row.reason)
        for row in suspicious.itertuples()
    ]
    return LabelReview(name, sources, labels, judged.suspicion(feedback), len(images), str(page) if page else None, unmatched)


def _collect(settings: "MonitorSettings") -> int:
    """Store what the service recorded since the monitor ran last, and count the labels that match no prediction."""
    from imageloop.lifecycle.feedback_for_training import collected_records

    records = active_deployer().cluster.records(*settings.monitoring.place)
    with collected_records(records, Workspace.current(), settings.monitoring.database) as (database, _):
        return database.orphans()


def decide(settings: "MonitorSettings", decision: "Decision", request_ids: list[str], source: str | None) -> ReviewedLabels:
    """Accept or reject the labels of requests, or all that a source has sent so far.

    Raises: SettingsError for neither or both, ImageLoopError where there are no such labels.
    """
    from imageloop.lifecycle.feedback_for_training import open_database

    if bool(request_ids) == (source is not None):
        raise SettingsError(f"expected request ids or --source, got {'both' if source is not None else 'neither'}")
    name = settings.monitoring.model_name
    with closing(open_database(Workspace.current(), settings.monitoring.database)) as database:
        labelled = database.review_requests(name, request_ids, decision)
        count = len(labelled) if source is None else database.review_source(name, source, decision)
    if not count:
        of = f"of source '{source}'" if source is not None else f"of the requests {', '.join(request_ids)}"
        raise ImageLoopError(f"expected labels {of} for model '{name}', got none; see: python run.py labels list --model {name}")
    return ReviewedLabels(decision, count, sorted({*request_ids} - {*labelled}))


def _write_page(to: Path, suspicious: "pd.DataFrame", images: dict[str, bytes], awaiting: str | None) -> Path:
    """Write the suspicious labels by source, with their images where they were retained."""
    lead = awaiting or "A retraining uses all other labels."
    sections = []
    for (source, reason), rows in suspicious.groupby(["feedback_source", "reason"]):
        shown = [row for row in rows.itertuples() if row.request_id in images]
        figures = [
            retained_figure(images[row.request_id], f"labelled {row.ground_truth}, predicted {row.label}: {row.request_id}")
            for row in shown
        ]
        others = [(row.request_id, row.label, row.ground_truth) for row in rows.itertuples() if row.request_id not in images]
        parts = [html_pages.grid(figures)] if figures else []
        parts += [html_pages.table(["request", "predicted", "labelled"], others)] if others else []
        sections.append(html_pages.section(f"{source}: {len(rows)} labels, {reason}", *parts))
    if (to / PAGE).is_dir():
        raise ImageLoopError(f"expected to write a page to '{to / PAGE}', got a folder there; name another with --to")
    try:
        with replacing(to / PAGE) as aside:
            aside.write_text(html_pages.page(f"Labels that await approval: {len(suspicious)}", lead, *sections))
    except OSError as error:
        raise ImageLoopError(
            f"expected a folder to write the page to, got '{to}': {error.strerror}; name another with --to"
        ) from error
    return to / PAGE
