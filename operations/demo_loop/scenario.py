"""The whole loop in a few minutes, on a site of its own: a world that changes, late labels, lies, and a bad model."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageloop.adapters.zenml_client import register_stacks
from imageloop.data.settings import FolderSource
from imageloop.data.sources.folder import check_folder
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.monitoring.decisions import HELPED
from imageloop.workspace_paths import HOME_VARIABLE, PROJECT, Workspace, of_this_site
from operations.demo_loop.timeline import Event, draw_timeline
from operations.demo_loop.traffic import Answered, Visitors
from operations.demo_loop.traffic_images import World, drawn_worlds, photographed_worlds
from steps.pipeline_settings import TrainSettings, WatchSettings

logger = logging.getLogger(__name__)
PER_SECOND = 20.0
WINDOW = 60
MAX_TRIES = 3
MARK = ".imageloop-story"  # in the folder of a story, which the next one may empty


@dataclass
class Told:
    """One act: what came of it, and how long it took."""

    title: str
    came_of_it: str
    begun: float
    seconds: float


class Story:
    """A site that serves, visitors, and what happens to them."""

    def __init__(self, settings: WatchSettings, visitors: Visitors, new_world: World) -> None:
        self._settings, self._visitors, self._new_world = settings, visitors, new_world

    def acts(self) -> list[Callable[[], str]]:
        return [
            self.known_world, self.world_changes, self.labels_arrive, self.accuracy_is_back, self.lies_arrive, self.bad_model_is_pushed,
        ]  # fmt: skip

    def known_world(self) -> str:
        self._visitors.labels = 0.4
        self._visitors.wait_for(3 * WINDOW)
        return self._look()

    def world_changes(self) -> str:
        self._visitors.labels, self._visitors.world = 0.0, self._new_world
        self._visitors.wait_for(3 * WINDOW)
        return self._look()

    def labels_arrive(self) -> str:
        """A gain that chance might have made does not pass the gate; more labels make it plain."""
        said = []
        for _ in range(MAX_TRIES):
            told = self._visitors.tell(self._visitors.wait_for(8 * WINDOW))
            said.append(f"{told} labels; {self._look()}")
            if HELPED in said[-1]:
                break
        return "; then ".join(said)

    def accuracy_is_back(self) -> str:
        self._visitors.labels = 0.5
        self._visitors.wait_for(5 * WINDOW)
        return self._look()

    def lies_arrive(self) -> str:
        self._visitors.labels = 0.0
        told = self._visitors.tell(self._visitors.wait_for(4 * WINDOW), lie=True)
        return f"{told} lies; {self._look()}"

    def bad_model_is_pushed(self) -> str:
        """Somebody serves a version that the gate refused."""
        from imageloop.adapters.zenml_failures import failed_step
        from operations import deployment, training

        self._visitors.labels = 0.7
        bad = training.train(_hardly_trained(self._settings.training))
        wanted = {"version": bad["model_version"], "keep_refused_version": True}
        try:
            deployment.deploy(self._settings.rollout.model_copy(update=wanted))
        except Exception as error:
            return f"{bad['outcome']} by the gate, and pushed: {failed_step(error) or error}"
        raise ImageLoopError(f"wanted version {bad['model_version']} to be rolled back, found it serving")

    def _look(self) -> str:
        from operations import monitoring

        time.sleep(0.3)  # records are written a few times a second
        result = monitoring.monitor(self._settings)
        return f"{result['action']}: {result['reason']}" + (f" → {result['outcome']}" if result["outcome"] else "")


def tell_story(folder: Path, settings: WatchSettings, data: Path | None = None) -> dict[str, Any]:
    """Play it with drawn pictures, or with those in `data`, and write `timeline.png` to `folder`.

    Raises: ImageLoopError where the bad model stays.
    """
    started = time.monotonic()
    _open_site(folder)
    worlds = photographed_worlds(data, folder / "pictures") if data is not None else drawn_worlds()
    if data is not None:
        source = settings.training.data.model_copy(update={"source": FolderSource(kind="folder", path=folder / "pictures")})
        settings = settings.model_copy(update={"training": settings.training.model_copy(update={"data": source})})
    from operations import deployment, training
    from seldon.delivery.rollouts.settings import DeploySettings

    trained = training.train(settings.training)
    served = deployment.deploy(DeploySettings(model_name=settings.monitoring.model_name))
    try:
        with Visitors(served["url"], PER_SECOND, worlds[0]) as visitors:
            told = [_told(act) for act in Story(settings, visitors, worlds[1]).acts()]
            visitors.wait_for(WINDOW)
    finally:
        deployment.down()
    timeline = folder / "timeline.png"
    draw_timeline(visitors.answered, _windows(settings), [Event(act.begun, act.title) for act in told], timeline)
    return {
        "accuracy_when_trained": trained["accuracy"],
        "acts": [vars(act) for act in told],
        "accuracy": _accuracies(visitors.answered, told),
        "requests": len(visitors.answered) + len(visitors.failures),
        "failed_requests": visitors.failures,
        "timeline": str(timeline),
        "seconds": time.monotonic() - started,
    }


def _told(act: Callable[[], str]) -> Told:
    title, begun = act.__name__.replace("_", " "), time.time()
    logger.info("— %s", title)
    said = act()
    logger.info("  %s", said)
    return Told(title, said, begun, time.time() - begun)


def _accuracies(answered: Sequence[Answered], told: list[Told]) -> dict[str, float]:
    """How many answers were right while each act was played."""
    found = {}
    for act in told:
        mine = [one.right for one in answered if act.begun <= one.time < act.begun + act.seconds]
        found[act.title] = sum(mine) / max(1, len(mine))
    return found


def _hardly_trained(settings: TrainSettings) -> TrainSettings:
    """One small step from a random head: what a slip in a setting makes."""
    model = settings.training.model
    loop = model.loop.model_copy(update={"max_epochs": 1, "learning_rate": 1e-5})
    training = settings.training.model_copy(update={"model": model.model_copy(update={"loop": loop}), "seed": 9})
    return settings.model_copy(update={"training": training})


def describe(result: dict[str, Any]) -> str:
    lines = [f"{one['title']} ({one['seconds']:.0f} s)\n    {one['came_of_it']}" for one in result["acts"]]
    return "\n".join(
        [
            "",
            *lines,
            "",
            "accuracy       " + ", ".join(f"{title} {share:.1%}" for title, share in result["accuracy"].items()),
            f"requests       {result['requests']}, {len(result['failed_requests'])} failed",
            *(f"  {words}" for words in result["failed_requests"][:3]),
            f"timeline       {result['timeline']}",
            f"seconds        {result['seconds']:.0f}",
        ]
    )


def check(folder: Path | None, data: Path | None) -> None:
    """Raises: SettingsError for a folder that holds anything but an earlier story, which goes; or pictures that are not there."""
    if folder is not None and folder.exists():
        if not folder.is_dir():
            raise SettingsError(f"--to: wanted a folder, found a file at '{folder}'")
        if any(folder.iterdir()) and not (folder / MARK).exists():
            raise SettingsError(f"--to: wanted an empty folder or one of an earlier story, found other things in '{folder}'")
    if data is not None:
        check_folder(data, "--data")


def _open_site(folder: Path) -> None:
    """A workspace and a ZenML store of the story's own, empty; what is still served from an earlier one is stopped."""
    from seldon.delivery.clusters.open_cluster import open_cluster
    from seldon.delivery.deployer.last_deployment import read_deployed

    shared = Workspace.current()
    home = folder / "home"
    if (left := read_deployed(Workspace(home))) is not None:
        getattr(open_cluster(left.cluster, Workspace(home)), "stop", lambda: None)()
    shutil.rmtree(folder, ignore_errors=True)
    (home / ".imageloop").mkdir(parents=True)
    (folder / MARK).touch()
    if shared.backbones.is_dir():  # exported once for all
        (home / ".imageloop" / "backbones").symlink_to(shared.backbones)
    for name in of_this_site(os.environ):
        del os.environ[name]  # or the story's lies would go to the database of the real site
    os.environ |= {
        HOME_VARIABLE: str(home),
        "ZENML_CONFIG_PATH": str(folder / "zenml"),
        "ZENML_REPOSITORY_PATH": str(folder),
        "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT),
        "IMAGELOOP_GATEWAY_PORT": "0",
    }
    register_stacks()


def _windows(settings: WatchSettings) -> list[dict[str, Any]]:
    from imageloop.lifecycle.feedback import open_database

    database = open_database(Workspace.current(), settings.monitoring.database)
    windows = database.windows(settings.monitoring.model_name, 200)
    database.close()
    return windows
