"""Trials on the machines of an engine: each gets what a training needs once, then the settings of one trial after the other."""

import shutil
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from imageloop.abandoned_work import own_folder
from imageloop.data.prepared_images import PreparedImages
from imageloop.data.preprocessing import UInt8Array
from imageloop.errors import ImageLoopError
from imageloop.model.package import WEIGHTS_MARK, weights_file
from imageloop.training.features import VIEWS, FeatureExtractor, FloatArray, exported_backbone
from imageloop.training.settings import TrainingSettings
from imageloop.training.trained_model import EpochReport
from imageloop.tuning.search_result import TrialResult
from imageloop.tuning.trials import judged_training
from imageloop.workspace_paths import Workspace

Score = TrialResult | str  # or why there is none
LATE = "late"


@dataclass(frozen=True)
class SentTrial:
    """The settings of a trial, and the seconds after which it is given up."""

    settings: TrainingSettings
    seconds_left: float


@dataclass(frozen=True)
class RunTrials:
    """The task of an engine: from the settings of a trial to its result.

    `images`: those of train and validation. `backbones`: files by name. `features`: (N, D) by backbone and view; `pixels`: (N, S, S, 3),
    where images are trained on.
    """

    images: PreparedImages
    backbones: dict[str, bytes]
    features: dict[tuple[str, str], tuple[list[str], FloatArray]]
    pixels: UInt8Array | None

    @classmethod
    def of(cls, names: Iterable[str], images: PreparedImages, workspace: Workspace, *, on_images: bool) -> "RunTrials":
        """Collect what trials of these single backbones need; their features are known."""
        table = images.table[images.table["split"].isin(("train", "validation"))]
        keys = table["sha256"].tolist()
        trained_on = table.loc[table["split"] == "train", "sha256"].tolist()
        store = images.open_store(workspace.prepared)
        backbones: dict[str, bytes] = {}
        features = {}
        for name in names:
            file = exported_backbone(name, images.side_pixels, workspace.backbones)
            files = [file, file.with_suffix(".sha256")]
            if on_images and WEIGHTS_MARK in name:
                files.append(weights_file(name, workspace.backbones))
            backbones |= {one.name: one.read_bytes() for one in files}
            extractor = FeatureExtractor.of(name, images.side_pixels, workspace)
            for view in VIEWS:
                of_view = keys if view == "plain" else trained_on
                features[name, view] = of_view, extractor.extract(of_view, view, store)
        images = replace(images, table=table.reset_index(drop=True))
        return cls(images, backbones, features, store.read(keys) if on_images else None)

    def open(self, cores: int) -> Callable[[SentTrial], Score]:
        """Lay out a workspace of its own, which goes with the worker."""
        import torch

        torch.set_num_threads(cores)
        home = own_folder("trials")
        workspace = Workspace(home)
        self._lay_out(workspace)

        def work(trial: SentTrial) -> Score:
            return self._run(trial, workspace)

        weakref.finalize(work, shutil.rmtree, home, ignore_errors=True)
        return work

    def _lay_out(self, workspace: Workspace) -> None:
        workspace.backbones.mkdir(parents=True)
        for name, content in self.backbones.items():
            (workspace.backbones / name).write_bytes(content)
        names = {name for name, _ in self.features}
        extractors = {name: FeatureExtractor.of(name, self.images.side_pixels, workspace) for name in names}
        for (name, view), (keys, features_ND) in self.features.items():
            extractors[name].keep(keys, view, features_ND)
        if self.pixels is not None:
            self.images.open_store(workspace.prepared).append(self.images.table["sha256"].tolist(), self.pixels)

    def _run(self, trial: SentTrial, workspace: Workspace) -> Score:
        """An error of the training is its result: one trial that fails ends no search."""
        deadline = time.monotonic() + trial.seconds_left

        def end_late(epoch: EpochReport) -> None:
            if epoch.of_images and time.monotonic() > deadline:
                raise _LateError

        try:
            return judged_training(trial.settings, self.images, workspace, end_late)
        except _LateError:
            return LATE
        except (MemoryError, RuntimeError, ImageLoopError) as error:
            return f"{type(error).__name__}: {error}"


class _LateError(Exception):
    """Fine-tuning that goes on after the search's time."""
