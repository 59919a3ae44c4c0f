"""Commands about data: restore the data of a run, handle retained images, review labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import data_text
from cli.command import load, run
from cli.options import Json, Model, MonitorConfig, Overrides, monitor_presets

if TYPE_CHECKING:
    from imageloop.records.store.label_reviews import Decision
    from operations.data_restore import RestoredData
    from operations.label_review import LabelReview, ReviewedLabels
    from operations.retained_images import DeletedImages, ExportedImages, RetainedList, RetentionKey
    from steps.pipeline_settings import MonitorSettings

PANEL = "Data"
images = typer.Typer(help="List, export and delete the images that the service retained for labelling.", no_args_is_help=True)
labels = typer.Typer(help="List, accept and reject the labels that await approval.", no_args_is_help=True)
Source = Annotated[
    str | None, typer.Option(help="All labels of this source that the monitor has collected, as `labels list` names it.")
]
RequestIds = Annotated[list[str] | None, typer.Argument(metavar="REQUEST_ID...", help="As `labels list` names them.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the command line."""
    app.command(rich_help_panel=PANEL)(restore)
    app.add_typer(images, name="images", rich_help_panel=PANEL)
    app.add_typer(labels, name="labels", rich_help_panel=PANEL)


def restore(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The id of an MLflow run; train prints it.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="A folder that does not exist yet.")],
    remote: Annotated[str | None, typer.Option(help="A DVC remote's name or address; by default the default remote.")] = None,
    json_output: Json = False,
) -> None:
    """Restore the images and the catalog that a run was trained on, byte for byte."""

    def work() -> "RestoredData":
        from operations import data_restore

        return data_restore.restore(run_id, to, remote)

    run("restore", work, data_text.restored, json_output)


@images.command("key")
def images_key(json_output: Json = False) -> None:
    """Make the key that images are retained for, and show how to retain images."""

    def work() -> "RetentionKey":
        from operations import retained_images

        return retained_images.key()

    run("images", work, data_text.key, json_output)


@images.command("list")
def images_list(
    model: Model = None, config: MonitorConfig = None, overrides: Overrides = None, json_output: Json = False
) -> None:
    """List the retained images."""
    settings = _settings(model, config, overrides)

    def work() -> "RetainedList":
        from operations import retained_images

        return retained_images.listing(settings.monitoring)

    run("images", work, data_text.listing, json_output)


@images.command("export")
def images_export(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="folder for labelled/<class>/ and to_label/")],
    model: Model = None,
    config: MonitorConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Decrypt the retained images: those with a label by class, the others to be labelled."""
    settings = _settings(model, config, overrides)

    def work() -> "ExportedImages":
        from operations import retained_images

        return retained_images.export(settings.monitoring, to.absolute(), settings.training.feedback)

    run("images", work, data_text.export, json_output)


@images.command("delete")
def images_delete(
    request_ids: Annotated[list[str], typer.Argument(metavar="REQUEST_ID...", help="As the responses named them.")],
    model: Model = None,
    config: MonitorConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Delete the retained images of requests."""
    settings = _settings(model, config, overrides)

    def work() -> "DeletedImages":
        from operations import retained_images

        return retained_images.delete(settings.monitoring, request_ids)

    run("images", work, data_text.deletion, json_output)


@labels.command("list")
def labels_list(
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page with the images of these labels, where they were retained.")
    ] = None,
    model: Model = None,
    config: MonitorConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """List by source the labels that train nothing until they are accepted, and why."""
    settings = _settings(model, config, overrides)

    def work() -> "LabelReview":
        from operations import label_review

        return label_review.listing(settings, to.absolute() if to else None)

    run("labels", work, data_text.label_review, json_output)


@labels.command("accept")
def labels_accept(
    request_ids: RequestIds = None,
    source: Source = None,
    model: Model = None,
    config: MonitorConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Accept labels: the next retraining uses them without another check."""
    _review("accepted", request_ids, source, model, config, overrides, json_output=json_output)


@labels.command("reject")
def labels_reject(
    request_ids: RequestIds = None,
    source: Source = None,
    model: Model = None,
    config: MonitorConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Reject labels: from now on they count as never sent."""
    _review("rejected", request_ids, source, model, config, overrides, json_output=json_output)


def _review(
    decision: "Decision",
    request_ids: list[str] | None,
    source: str | None,
    model: str | None,
    config: Path | None,
    overrides: list[str] | None,
    *,
    json_output: bool,
) -> None:
    settings = _settings(model, config, overrides)

    def work() -> "ReviewedLabels":
        from operations import label_review

        return label_review.decide(settings, decision, request_ids or [], source)

    run("labels", work, data_text.reviewed_labels, json_output)


def _settings(model: str | None, config: Path | None, overrides: list[str] | None) -> "MonitorSettings":
    """The settings of the monitor whose records a command handles."""
    from steps.pipeline_settings import MonitorSettings

    return load(MonitorSettings, config, overrides, **monitor_presets(model))
