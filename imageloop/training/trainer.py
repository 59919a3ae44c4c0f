"""Two models behind one function: from prepared pictures to a trained model."""

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imageloop.background_imports import loading
from imageloop.code_fingerprint import core_fingerprint
from imageloop.data.array_store import ArrayStore
from imageloop.data.prepared_images import PreparedPictures, in_batches
from imageloop.errors import ImageLoopError
from imageloop.model.backbones import blocks_of, load_backbone
from imageloop.model.network import Classifier, baseline_features
from imageloop.training.checkpoint import Checkpoint
from imageloop.training.devices import Device, device_of
from imageloop.training.features import FeatureExtractor
from imageloop.training.feedback_data import Experience
from imageloop.training.settings import BaselineCnn, LoopSettings, TrainingSettings, Transfer
from imageloop.training.trained_model import EpochReport, TrainedModel
from imageloop.training.training_loop import Batches, Fitted, Work, balanced_weights, fit
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
Report = Callable[[EpochReport], None]


def new_classifier(settings: TrainingSettings, num_classes: int) -> Classifier:
    """A network with an untrained head; its first weights depend on the seed alone."""
    torch.manual_seed(settings.seed)
    match settings.model:
        case BaselineCnn() as model:
            return Classifier(baseline_features(model.channels), num_classes, model.dropout)
        case Transfer() as model:
            return Classifier(load_backbone(model.backbone), num_classes)


def train(
    pictures: PreparedPictures,
    settings: TrainingSettings,
    workspace: Workspace,
    report: Report,
    experience: Experience | None = None,
) -> TrainedModel:
    """Fit the model that `settings` names on the train split, watched on the validation split.

    Labelled answers of the same backbone are further rows for its head; each counts `experience_weight` times.

    Raises: ImageLoopError for a GPU that is wanted and not there, or whose memory is too small, and for a loss that is no number.
    """
    work = _Training(pictures, settings, workspace, report, experience or Experience.none())
    try:
        match settings.model:
            case BaselineCnn() as model:
                return work.from_scratch(model)
            case Transfer() as model:
                return work.transfer(model)
    except torch.OutOfMemoryError as error:
        raise ImageLoopError(
            "wanted a batch that fits the GPU's memory, found that it does not; lower the loop's batch_size or the model's side_pixels, "
            "or set training.device=cpu"
        ) from error


class _Training:
    """One training: its pictures, its settings, its places."""

    def __init__(
        self,
        pictures: PreparedPictures,
        settings: TrainingSettings,
        workspace: Workspace,
        report: Report,
        experience: Experience,
    ) -> None:
        self.pictures, self.settings, self.workspace, self.report = pictures, settings, workspace, report
        self.experience = experience
        self.store = pictures.open_store(workspace.prepared)
        self.train_rows, self.validation_rows = pictures.of_split("train"), pictures.of_split("validation")
        self.train_targets = pictures.targets(self.train_rows)
        self.validation_targets = pictures.targets(self.validation_rows)
        self.device = device_of(settings.device)

    def from_scratch(self, model_settings: BaselineCnn) -> TrainedModel:
        model = new_classifier(self.settings, len(self.pictures.class_names))
        fitted = self._fit_on_pictures(model, model_settings.loop, "baseline", model_settings.max_minutes * 60)
        return self._trained(model, fitted, head_only=False)

    def transfer(self, model_settings: Transfer) -> TrainedModel:
        learns = self.experience.fits(model_settings.backbone, self.pictures.side_pixels)
        if learns:
            self.validation_targets = np.concatenate([self.validation_targets, self._experience("validation")[1]])
        elif len(self.experience.labelled):
            logger.warning("the labelled answers are of another backbone, '%s': they teach nothing", self.experience.backbone)
            self.experience = Experience.none()
        head, fitted = self._fit_head(model_settings)
        state = {f"head.{name}": value.cpu() for name, value in head.state_dict().items()}
        if not model_settings.fine_tune_blocks or learns:  # the answers are embeddings, and teach a head alone
            return self._trained_from(state, fitted, head_only=True)
        model = new_classifier(self.settings, len(self.pictures.class_names))
        model.head.load_state_dict(head.state_dict())
        _freeze_all_but(model, model_settings.fine_tune_blocks)
        done = len(fitted.history)
        tuned = self._fit_on_pictures(model, model_settings.fine_tune, "fine-tune", math.inf, done)
        before, after = (one.history[one.best_epoch].validation_loss for one in (fitted, tuned))
        history = [*fitted.history, *(replace(row, epoch=row.epoch + done) for row in tuned.history)]
        if after > before:
            logger.info(
                "fine-tuning did not help (validation loss %.4f, by the head alone %.4f): the head alone is kept", after, before
            )
            fitted.history = history
            return self._trained_from(state, fitted, head_only=True)
        tuned.history, tuned.best_epoch = history, tuned.best_epoch + done
        return self._trained(model, tuned, head_only=False)

    def _fit_head(self, model_settings: Transfer) -> tuple[nn.Linear, Fitted]:
        extractor = FeatureExtractor.of(model_settings.backbone, self.pictures.side_pixels, self.workspace, self.device)
        keys = self.train_rows["sha256"].tolist()
        views = ("plain", "flipped") if model_settings.flipped_views else ("plain",)
        met_ND, met_N = self._experience("train")
        met_ND = met_ND.reshape(-1, extractor.num_features)
        times = 1 if self.experience.imitated else model_settings.experience_weight  # there are as many copies as pictures
        with loading("torch._dynamo", "timm"):  # for the optimizer, whatever it compiles, and for the export
            seen = [extractor.extract(self.pictures, keys, view, self.store) for view in views]
        features_ND = torch.from_numpy(np.concatenate([*seen, *[met_ND] * times]))
        targets_N = torch.from_numpy(np.concatenate([np.tile(self.train_targets, len(views)), np.tile(met_N, times)]))
        validation_keys = self.validation_rows["sha256"].tolist()
        validation_ND = torch.from_numpy(
            np.concatenate([
                extractor.extract(self.pictures, validation_keys, "plain", self.store),
                self._experience("validation")[0].reshape(-1, extractor.num_features),
            ])
        )  # fmt: skip
        torch.manual_seed(self.settings.seed)
        head = nn.Linear(extractor.num_features, len(self.pictures.class_names))
        loop = model_settings.loop
        batches = rows_in_batches(features_ND, targets_N, loop.batch_size, self.settings.seed)
        work = self._work(batches, math.ceil(len(targets_N) / loop.batch_size), lambda: [validation_ND], math.inf)
        with one_thread():
            return head, fit(head, work, loop, self._checkpoint("head"), self.report)

    def _fit_on_pictures(self, model: nn.Module, loop: LoopSettings, name: str, max_seconds: float, done: int = 0) -> Fitted:
        """`done`: epochs before these, which are told of after them."""
        keys, validation_keys = (rows["sha256"].tolist() for rows in (self.train_rows, self.validation_rows))
        batches = pictures_in_batches(self.store, keys, self.train_targets, loop.batch_size, self.settings.seed, self.device)
        validation = lambda: map(torch.from_numpy, in_batches(self.store, validation_keys, loop.batch_size))  # noqa: E731
        work = self._work(batches, len(keys) // loop.batch_size or 1, validation, max_seconds)
        return fit(model, work, loop, self._checkpoint(name), lambda row: self.report(replace(row, epoch=row.epoch + done)))

    def _work(self, batches: Batches, num_batches: int, validation: Callable[[], Iterable[Tensor]], max_seconds: float) -> Work:
        names = self.pictures.class_names
        weights = balanced_weights(self.train_targets, len(names)) if self.settings.class_weights else None
        return Work(
            batches,
            num_batches,
            validation,
            self.validation_targets,
            names,
            weights,
            torch.device(self.device),
            self.settings.seed,
            max_seconds,
        )

    def _experience(self, role: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Labelled answers of a role, (N, D) and (N,)."""
        return self.experience.rows(role, self.pictures.class_names)

    def _checkpoint(self, name: str) -> Checkpoint:
        labelled = self.experience.labelled
        met = ",".join(labelled["request_id"] + labelled["role"] + labelled["true_label"])
        identity = f"{name}|{self.settings.model_dump_json()}|{self.pictures.data_version}|{core_fingerprint()}|{met}"
        return Checkpoint(self.workspace.checkpoints, f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}")

    def _trained(self, model: Classifier, fitted: Fitted, *, head_only: bool) -> TrainedModel:
        return self._trained_from({key: value.cpu() for key, value in model.state_dict().items()}, fitted, head_only=head_only)

    def _trained_from(self, state: dict[str, Tensor], fitted: Fitted, *, head_only: bool) -> TrainedModel:
        return TrainedModel(
            self.settings, self.pictures.class_names, state, head_only, fitted.history, fitted.best_epoch,
            fitted.logits_NK, self.validation_targets,
        )  # fmt: skip


@contextmanager
def one_thread() -> Iterator[None]:
    """For small matrices: more threads gain nothing, and wait for each other where a service works beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rows_in_batches(rows_ND: Tensor, targets_N: Tensor, size: int, seed: int) -> Batches:
    """Rows in another order each epoch, all of them."""

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in torch.split(_shuffled(len(targets_N), seed, epoch), size):
            yield rows_ND[chosen], targets_N[chosen]

    return batches


def pictures_in_batches(
    store: ArrayStore, keys: list[str], targets_N: NDArray[np.int64], size: int, seed: int, device: Device
) -> Batches:
    """Pictures in another order each epoch, augmented where they are needed; a last batch that is not full is left out, for the batch norms."""
    from imageloop.training.augmentation import augment, augmentation  # torchvision takes a second to load

    transform = augmentation()

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        chunks = torch.split(_shuffled(len(keys), seed, epoch), size)
        for chosen in chunks[:-1] if len(chunks) > 1 and len(chunks[-1]) < size else chunks:
            images_BHWC = torch.from_numpy(store.read([keys[i] for i in chosen.tolist()]))
            yield augment(images_BHWC.to(device), transform), torch.from_numpy(targets_N[chosen.numpy()])

    return batches


def _shuffled(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))


def _freeze_all_but(model: Classifier, num_blocks: int) -> None:
    """Leave the last blocks and the head trainable; batch norms keep the statistics of ImageNet."""
    for parameter in model.features.parameters():
        parameter.requires_grad = False
    for block in blocks_of(model.features)[-num_blocks:]:
        for parameter in block.parameters():
            parameter.requires_grad = True
    model.features_train = False
