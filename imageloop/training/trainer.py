"""Train a model on prepared images: a head on a backbone, or a network from scratch."""

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imageloop.code_fingerprint import core_fingerprint
from imageloop.data.prepared_images import PreparedImages, in_batches
from imageloop.data.preprocessing import UInt8Array
from imageloop.errors import ImageLoopError
from imageloop.model.network import Classifier
from imageloop.training.batches import images_in_batches, rows_in_batches
from imageloop.training.checkpoint import Checkpoint
from imageloop.training.classification_metrics import score
from imageloop.training.devices import device_of
from imageloop.training.features import FeatureExtractor
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.feedback_images import FeedbackImages, training_images
from imageloop.training.head_rows import head_rows
from imageloop.training.loop_settings import Distillation, LoopOnImages
from imageloop.training.new_classifier import new_classifier
from imageloop.training.sent_fit import Received, SentFit, engine_of, fit_together
from imageloop.training.settings import RETRAINED_BLOCKS, BaselineCnn, TrainingSettings, Transfer
from imageloop.training.teacher import Teacher
from imageloop.training.trained_blocks import TrainedBlocks
from imageloop.training.trained_model import EpochReport, TrainedModel
from imageloop.training.training_loop import Batches, Fitted, Work, balanced_weights, fit, one_thread
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
Report = Callable[[EpochReport], None]


def train(
    images: PreparedImages,
    settings: TrainingSettings,
    workspace: Workspace,
    report: Report,
    feedback: FeedbackData | None = None,
    feedback_images: FeedbackImages | None = None,
) -> TrainedModel:
    """Fit the model that `settings` names on the train split, watched on the validation split.

    Labelled predictions of the same backbone are further rows for its head; each counts `feedback_weight` times. Where their images are given,
    these train the last blocks, or a network from scratch, too.

    Raises: ImageLoopError for a GPU that is expected and not there, or whose memory is too small, and for a loss that is no number.
    """
    work = _Training(images, settings, workspace, report, feedback or FeedbackData.none(), feedback_images)
    try:
        match settings.model:
            case BaselineCnn() as model:
                return work.from_scratch(model)
            case Transfer() as model:
                return work.transfer(model)
    except torch.OutOfMemoryError as error:
        raise ImageLoopError(
            "expected a batch that fits the GPU's memory, got one that does not fit; lower the loop's batch_size or the model's side_pixels, "
            "or set training.device=cpu"
        ) from error


class _Training:
    """Holds the images, settings and folders of one training."""

    def __init__(
        self,
        images: PreparedImages,
        settings: TrainingSettings,
        workspace: Workspace,
        report: Report,
        feedback: FeedbackData,
        feedback_images: FeedbackImages | None,
    ) -> None:
        self.images, self.settings, self.workspace, self.report = images, settings, workspace, report
        self.feedback, self.feedback_images = feedback, feedback_images
        self.store = images.open_store(workspace.prepared)
        self.train_rows, self.validation_rows = images.of_split("train"), images.of_split("validation")
        self.train_targets, self.validation_targets = images.targets(self.train_rows), images.targets(self.validation_rows)
        self.device = device_of(settings.device)
        self.teacher: Teacher | None = None
        self.rehearsal_weight = 0.0

    def from_scratch(self, model_settings: BaselineCnn) -> TrainedModel:
        model = new_classifier(self.settings, len(self.images.class_names), self.workspace.backbones)
        if self.feedback_images is not None:
            self.validation_targets = np.concatenate([self.validation_targets, self._feedback_rows("validation")[1]])
        self.teacher = self._taught_by(model_settings.distillation)
        fitted = self._fit_on_images(model, model_settings.loop, "baseline", model_settings.max_minutes * 60)
        return self._trained(model, fitted, head_only=False)

    def transfer(self, model_settings: Transfer) -> TrainedModel:
        learns = self.feedback.fits(model_settings.backbone, self.images.side_pixels)
        if learns:
            self.validation_targets = np.concatenate([self.validation_targets, self._feedback_rows("validation")[1]])
        elif len(self.feedback.labelled):
            logger.warning("the labelled predictions are of another backbone, '%s': they teach nothing", self.feedback.backbone)
            self.feedback = FeedbackData.none()
        if learns and self.feedback.head is not None:
            return self._recalibrated(model_settings, self.feedback.head)
        self.rehearsal_weight = 0.0 if learns else model_settings.rehearsal_weight
        head, fitted = self._fit_head(model_settings)
        state = {f"head.{name}": value.cpu() for name, value in head.state_dict().items()}
        blocks, seconds = model_settings.fine_tune_blocks, math.inf
        if learns:  # the predictions are embeddings, and teach a head alone where their images are gone
            blocks = max(blocks, RETRAINED_BLOCKS) if self.feedback_images is not None else 0
            seconds = 60 * self.feedback.fine_tune_minutes
        if not blocks:
            if self.settings.workers > 1:
                logger.warning(
                    "training.workers has no effect: a head alone is trained, by one process (model.fine_tune_blocks=0)"
                )
            return self._trained_from(state, fitted, head_only=True)
        model = new_classifier(self.settings, len(self.images.class_names), self.workspace.backbones)
        model.head.load_state_dict(head.state_dict())
        trained = TrainedBlocks(model, blocks, model_settings.lora)
        self.teacher = self._taught_by(model_settings.distillation)
        done = len(fitted.history)
        tuned = self._fit_on_images(model, model_settings.fine_tune, "fine-tune", seconds, done)
        trained.finish()
        if self.teacher is not None:
            self.teacher.report(tuned.history[tuned.best_epoch].validation.accuracy, model_settings.backbone)
        before, after = (one.history[one.best_epoch].validation_loss for one in (fitted, tuned))
        history = [*fitted.history, *(replace(row, epoch=row.epoch + done) for row in tuned.history)]
        if after > before:
            logger.info(
                "fine-tuning did not help (validation loss %.4f, by the head alone %.4f): the head alone is used", after, before
            )
            fitted.history = history
            return self._trained_from(state, fitted, head_only=True)
        tuned.history, tuned.best_epoch = history, tuned.best_epoch + done
        return self._trained(model, tuned, head_only=False)

    def _taught_by(self, settings: Distillation | None) -> Teacher | None:
        """The teacher of a distillation, whose head is trained now."""
        if settings is None:
            return None
        side = self.images.side_pixels
        model = Transfer(backbone=settings.teacher, side_pixels=side, rehearsal_weight=0)
        alone = _Training(
            self.images,
            self.settings.model_copy(update={"model": model}),
            self.workspace,
            lambda _: None,
            FeedbackData.none(),
            None,
        )
        extractor = FeatureExtractor.of(settings.teacher, side, self.workspace, self.device)
        return Teacher(alone.transfer(model), extractor, settings, side, self.workspace)

    def _recalibrated(self, model_settings: Transfer, head_KD1: NDArray[np.float32]) -> TrainedModel:
        """The champion's head with other thresholds between the classes: nothing is trained."""
        extractor = FeatureExtractor.of(model_settings.backbone, self.images.side_pixels, self.workspace, self.device)
        logits_NK = self._validation_rows(extractor) @ head_KD1[:, :-1].T + head_KD1[:, -1]
        self.rehearsal_weight = self.feedback.rehearsal_weight
        loss = float(nn.functional.cross_entropy(torch.from_numpy(logits_NK), torch.from_numpy(self.validation_targets)))
        scores = score(self.validation_targets, logits_NK.argmax(1), self.images.class_names)
        fitted = Fitted([EpochReport(0, loss, loss, scores)], 0, logits_NK)
        self.report(fitted.history[0])
        state = {"head.weight": torch.from_numpy(head_KD1[:, :-1].copy()), "head.bias": torch.from_numpy(head_KD1[:, -1].copy())}
        return self._trained_from(state, fitted, head_only=True)

    def _fit_head(self, model_settings: Transfer) -> tuple[nn.Linear, Fitted]:
        extractor = FeatureExtractor.of(model_settings.backbone, self.images.side_pixels, self.workspace, self.device)
        rows = head_rows(self.images, extractor, self.store, model_settings, self.feedback, self.rehearsal_weight)
        self.rehearsal_weight = rows.rehearsal_weight
        targets_N = torch.from_numpy(rows.targets_N)
        validation_ND = torch.from_numpy(self._validation_rows(extractor))
        torch.manual_seed(self.settings.seed)
        head = nn.Linear(extractor.num_features, len(self.images.class_names))
        loop = model_settings.loop
        batches = rows_in_batches(torch.from_numpy(rows.features_ND), targets_N, loop.batch_size, self.settings.seed, rows.drawn)
        num_rows = len(targets_N) - rows.drawn.num_rows + rows.drawn.number
        work = self._work(batches, math.ceil(num_rows / loop.batch_size), lambda: [validation_ND], math.inf)
        with one_thread():
            return head, fit(head, work, loop, self._checkpoint("head"), self.report)

    def _validation_rows(self, extractor: FeatureExtractor) -> NDArray[np.float32]:
        """Embeddings of the validation images, then of labelled predictions, (N, D)."""
        keys = self.validation_rows["sha256"].tolist()
        feedback_ND = self._feedback_rows("validation")[0].reshape(-1, extractor.num_features)
        return np.concatenate([extractor.extract(keys, "plain", self.store), feedback_ND])

    def _fit_on_images(self, model: nn.Module, loop: LoopOnImages, name: str, max_seconds: float, done: int = 0) -> Fitted:
        """Number epochs after the `done` ones of an earlier phase."""
        keys, times = self.train_rows["sha256"].tolist(), getattr(self.settings.model, "feedback_weight", 1)
        targets_N, read = training_images(self.store, keys, self.train_targets, self.feedback_images, times)
        report = lambda row: self.report(replace(row, epoch=row.epoch + done, of_images=True))  # noqa: E731
        if (engine := engine_of(self.settings.workers)) is not None:
            sent = SentFit(
                model, loop, self.settings, read(list(range(len(targets_N)))), targets_N,
                np.concatenate(list(self._validation_images(loop.batch_size))), self.validation_targets,
                self.images.class_names, self._class_weights(), max_seconds,
            )  # fmt: skip
            return fit_together(engine, sent, Received(self._checkpoint(name), report))
        batches = images_in_batches(read, targets_N, loop, len(self.images.class_names), self.settings.seed, self.device)
        validation = lambda: map(torch.from_numpy, self._validation_images(loop.batch_size))  # noqa: E731
        work = self._work(batches, len(targets_N) // loop.batch_size or 1, validation, max_seconds)
        work = replace(work, teacher=self.teacher, precision=self.settings.precision)
        return fit(model, work, loop, self._checkpoint(name), report)

    def _validation_images(self, size: int) -> Iterator[UInt8Array]:
        """The validation images, then those of labelled predictions, in batches."""
        yield from in_batches(self.store, self.validation_rows["sha256"].tolist(), size)
        if self.feedback_images is not None:
            yield from self.feedback_images.validation_batches(size)

    def _work(self, batches: Batches, num_batches: int, validation: Callable[[], Iterable[Tensor]], max_seconds: float) -> Work:
        return Work(
            batches,
            num_batches,
            validation,
            self.validation_targets,
            self.images.class_names,
            self._class_weights(),
            torch.device(self.device),
            self.settings.seed,
            max_seconds,
        )

    def _class_weights(self) -> Tensor | None:
        return balanced_weights(self.train_targets, len(self.images.class_names)) if self.settings.class_weights else None

    def _feedback_rows(self, role: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Labelled predictions of a role, (N, D) and (N,)."""
        return self.feedback.rows(role, self.images.class_names)

    def _checkpoint(self, name: str) -> Checkpoint:
        labelled = self.feedback.labelled
        ladder = self.feedback.ladder
        labels = ",".join(labelled["request_id"] + labelled["role"] + labelled["ground_truth"])
        feedback_key = f"{labels}|{len(self.feedback.copies)}|{ladder.num_images if ladder else 0}"
        identity = f"{name}|{self.settings.model_dump_json()}|{self.images.data_version}|{core_fingerprint()}|{feedback_key}"
        return Checkpoint(self.workspace.checkpoints, f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}")

    def _trained(self, model: Classifier, fitted: Fitted, *, head_only: bool) -> TrainedModel:
        return self._trained_from({key: value.cpu() for key, value in model.state_dict().items()}, fitted, head_only=head_only)

    def _trained_from(self, state: dict[str, Tensor], fitted: Fitted, *, head_only: bool) -> TrainedModel:
        return TrainedModel(
            self.settings, self.images.class_names, state, head_only, fitted.history, fitted.best_epoch,
            fitted.logits_NK, self.validation_targets, self.teacher.score if self.teacher else None, self.rehearsal_weight,
        )  # fmt: skip
