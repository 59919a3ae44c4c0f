"""Play the whole loop in minutes, on a site of its own: the images change, labels arrive late, some are poisoned, a bad model is deployed."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from imageloop.adapters.zenml_client import register_stacks
from imageloop.data.settings import FolderSource
from imageloop.data.sources.folder import check_folder
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.monitoring.decision_input import HELPED
from imageloop.monitoring.windows import Window
from imageloop.workspace_paths import HOME_VARIABLE, PROJECT, Workspace, of_this_site
from operations.demo_loop.demo_loop_summary import DemoLoopSummary, ScenarioResult, accuracy_of, headlines, summarise
from operations.demo_loop.timeline import Event, draw_timeline
from operations.demo_loop.traffic import SentRequest, Traffic
from operations.demo_loop.traffic_images import ImageStream, drawn_images, photographed_images
from operations.training import SubmittedRun, train
from steps.pipeline_settings import MonitorSettings, TrainSettings

logger = logging.getLogger(__name__)
REQUESTS_PER_SECOND = 20.0
WINDOW = 60
NUM_WINDOWS = 200
MAX_TRIES = 3
MARK = ".imageloop-demo-loop"  # in the folder of a demo loop, which the next one may empty
OLD_MARK = ".imageloop-story"  # of one before 0.2.0


@dataclass(frozen=True)
class DemoLoopResult:
    """The scenarios, the accuracy during each (in [0, 1]), what happened in figures, and the file of the timeline."""

    accuracy_when_trained: float
    scenarios: list[ScenarioResult]
    summary: DemoLoopSummary
    accuracy: dict[str, float]
    requests: int
    failed_requests: list[str]
    timeline: str
    seconds: float


class DemoLoop:
    """A site under traffic, and the scenarios that it goes through."""

    def __init__(self, settings: MonitorSettings, traffic: Traffic, changed_images: ImageStream) -> None:
        self._settings, self._traffic, self._changed_images = settings, traffic, changed_images
        self._labels_sent = 0

    def play(self) -> list[ScenarioResult]:
        """Play every scenario, one after the other."""
        return [self._play(scenario) for scenario in self.scenarios()]

    def _play(self, scenario: Callable[[], str]) -> ScenarioResult:
        title, begun, labels_before = scenario.__name__.replace("_", " "), time.time(), self._labels_sent
        logger.info("— %s", title)
        outcome = scenario()
        logger.info("  %s", outcome)
        return ScenarioResult(title, outcome, begun, time.time() - begun, self._labels_sent - labels_before)

    def scenarios(self) -> list[Callable[[], str]]:
        return [
            self.unchanged_images, self.changed_images, self.labels_arrive, self.after_retraining,
            self.poisoned_labels_arrive, self.bad_model_is_deployed,
        ]  # fmt: skip

    def unchanged_images(self) -> str:
        self._traffic.labelled_share = 0.4
        self._traffic.wait_for(3 * WINDOW)
        return self._monitor()

    def changed_images(self) -> str:
        self._traffic.labelled_share, self._traffic.images = 0.0, self._changed_images
        self._traffic.wait_for(3 * WINDOW)
        return self._monitor()

    def labels_arrive(self) -> str:
        """Labels arrive until a retraining helped: a gain that may be chance does not pass the gate, and more labels settle it."""
        outcomes = []
        for _ in range(MAX_TRIES):
            num_labels = self._send_labels(self._traffic.wait_for(8 * WINDOW))
            outcomes.append(f"{num_labels} labels; {self._monitor()}")
            if HELPED in outcomes[-1]:
                break
        return "; then ".join(outcomes)

    def after_retraining(self) -> str:
        self._traffic.labelled_share = 0.5
        self._traffic.wait_for(5 * WINDOW)
        return self._monitor()

    def poisoned_labels_arrive(self) -> str:
        self._traffic.labelled_share = 0.0
        num_labels = self._send_labels(self._traffic.wait_for(4 * WINDOW), poisoned=True)
        return f"{num_labels} poisoned labels; {self._monitor()}"

    def bad_model_is_deployed(self) -> str:
        """Deploy a version that the gate refused, on purpose."""
        from imageloop.adapters.zenml_failures import failed_step
        from operations.deployment import deploy

        self._traffic.labelled_share = 0.7
        bad = _completed(train(_hardly_trained(self._settings.training)))
        forced = {"version": bad.model_version, "allow_refused_version": True}
        try:
            deploy(self._settings.rollout.model_copy(update=forced))
        except Exception as error:
            return f"{bad.outcome} by the gate, and deployed all the same: {failed_step(error) or error}"
        raise ImageLoopError(f"expected version {bad.model_version} to be rolled back, got it serving")

    def _send_labels(self, sent: Sequence[SentRequest], *, poisoned: bool = False) -> int:
        number = self._traffic.send_labels(sent, poisoned=poisoned)
        self._labels_sent += number
        return number

    def _monitor(self) -> str:
        from operations.monitoring import monitor

        time.sleep(0.3)  # records are written a few times a second
        result = monitor(self._settings)
        return f"{result.action}: {result.reason}" + (f" → {result.outcome}" if result.outcome else "")


def run_demo_loop(folder: Path, settings: MonitorSettings, data: Path | None = None) -> DemoLoopResult:
    """Play all scenarios with drawn images, or with those in `data`, and write `timeline.png` to `folder`.

    Raises: ImageLoopError where the bad model stays.
    """
    started = time.monotonic()
    _open_site(folder)
    unchanged, changed = photographed_images(data, folder / "images") if data is not None else drawn_images()
    if data is not None:
        source = settings.training.data.model_copy(update={"source": FolderSource(kind="folder", path=folder / "images")})
        settings = settings.model_copy(update={"training": settings.training.model_copy(update={"data": source})})
    from operations import deployment, serving
    from seldon.delivery.rollouts.settings import DeploySettings

    trained = _completed(train(settings.training))
    served = _completed(deployment.deploy(DeploySettings(model_name=settings.monitoring.model_name)))
    try:
        with Traffic(served.url, REQUESTS_PER_SECOND, unchanged) as traffic:
            results = DemoLoop(settings, traffic, changed).play()
            traffic.wait_for(WINDOW)
    finally:
        serving.down()
    timeline, windows = folder / "timeline.png", _windows(settings)
    summary = summarise(results, traffic.sent, windows)
    results = _with_headlines(results, summary, windows)
    draw_timeline(traffic.sent, windows, [Event(one.begun, one.headline) for one in results], timeline)
    return DemoLoopResult(
        accuracy_when_trained=trained.accuracy,
        scenarios=results,
        summary=summary,
        accuracy={one.title: accuracy_of(traffic.sent, one) for one in results},
        requests=len(traffic.sent) + len(traffic.failures),
        failed_requests=traffic.failures,
        timeline=str(timeline),
        seconds=time.monotonic() - started,
    )


def _completed[Result](result: Result | SubmittedRun) -> Result:
    """Return the result of a pipeline that ran here. Raises: SettingsError for one that was submitted to another machine."""
    if isinstance(result, SubmittedRun):
        raise SettingsError(f"expected a stack that runs pipelines on this machine, got '{result.stack}'; zenml stack set local")
    return result


def _with_headlines(results: list[ScenarioResult], summary: DemoLoopSummary, windows: list[Window]) -> list[ScenarioResult]:
    false_alarms = sum(window.alarm for window in windows if window.end <= results[0].end)
    said = zip(results, headlines(summary, false_alarms), strict=True)
    return [replace(result, headline=headline) for result, headline in said]


def _hardly_trained(settings: TrainSettings) -> TrainSettings:
    """Make a badly trained model: one small step from a random head, as a wrong setting can give."""
    model = settings.training.model
    loop = model.loop.model_copy(update={"max_epochs": 1, "learning_rate": 1e-5})
    training = settings.training.model_copy(update={"model": model.model_copy(update={"loop": loop}), "seed": 9})
    return settings.model_copy(update={"training": training})


def check(folder: Path | None, data: Path | None) -> None:
    """Raises: SettingsError for a folder that holds anything but an earlier demo loop, which is emptied; or for missing images."""
    if folder is not None and folder.exists():
        if not folder.is_dir():
            raise SettingsError(f"--to: expected a folder, got a file at '{folder}'")
        if any(folder.iterdir()) and not any((folder / mark).exists() for mark in (MARK, OLD_MARK)):
            raise SettingsError(f"--to: expected an empty folder or one of an earlier demo loop, got other files in '{folder}'")
    if data is not None:
        check_folder(data, "--data")


def _open_site(folder: Path) -> None:
    """Make an empty workspace and ZenML store of the demo loop's own, and stop what an earlier one still serves."""
    from seldon.delivery.clusters.open_cluster import open_cluster
    from seldon.delivery.deployer.last_deployment import read_last

    shared = Workspace.current()
    home = folder / "home"
    if (left := read_last(Workspace(home))) is not None:
        open_cluster(left.cluster, Workspace(home)).stop()
    shutil.rmtree(folder, ignore_errors=True)
    (home / ".imageloop").mkdir(parents=True)
    (folder / MARK).touch()
    if shared.backbones.is_dir():  # exported once for all
        (home / ".imageloop" / "backbones").symlink_to(shared.backbones)
    for name in of_this_site(os.environ):
        del os.environ[name]  # or the poisoned labels would go to the database of the real site
    os.environ |= {
        HOME_VARIABLE: str(home),
        "ZENML_CONFIG_PATH": str(folder / "zenml"),
        "ZENML_REPOSITORY_PATH": str(folder),
        "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT),
        "IMAGELOOP_GATEWAY_PORT": "0",
    }
    register_stacks()


def _windows(settings: MonitorSettings) -> list[Window]:
    from imageloop.lifecycle.feedback_for_training import open_database
    from imageloop.lifecycle.measure_predictions import stored_windows

    with closing(open_database(Workspace.current(), settings.monitoring.database)) as database:
        return stored_windows(database, settings.monitoring.model_name, NUM_WINDOWS)
