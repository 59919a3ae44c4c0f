"""Feedback data: labelled predictions as training rows for the head, without images.

The embeddings of a frozen backbone do not depend on the head: with their ground truth they train a head as well as images do. Every
label is checked before it trains.

Shapes: N rows, D features.
"""

import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from imageloop.embeddings.drift_samples import embeddings_of
from imageloop.embeddings.same_scene import scenes_of, shows_one_of
from imageloop.training.logistic_head import LABEL_WEIGHT
from imageloop.training.poisoned_labels import accused_labels, is_accepted, rename_classes
from imageloop.training.retraining_ladder import Ladder
from imageloop.training.settings import FeedbackSettings

logger = logging.getLogger(__name__)
ROLES = ("train", "validation", "held_back", "quarantined")
COLUMNS = [
    "request_id", "time", "sha256", "scene", "label", "ground_truth", "feedback_source", "model_version", "embedding", "role", "evaluates", "reason",
    "quality", "retained",
]  # fmt: skip
VALIDATION_SHARE = 0.125  # of rows that are not held back
NUM_FOLDS = 4
CONTRADICTED = "models that have not seen it contradict it"
ACCUSED = "its source may be poisoned: "
LEARNABLE = 0.5  # the least quality of a label that other labels confirm
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class FeedbackData:
    """`labelled`: predictions with ground truth, each with its role, and whether its scene is held back (`evaluates`); `recent`: the newest
    predictions, with or without ground truth.

    `backbone` and `side_pixels` describe the embeddings; `augmented`: they are of changed copies of the data set's images. `bias`: why
    the labels are no fair sample of the predictions. `ladder`: the compared ways to retrain; `copies`: rehearsed ones that train too, where these
    were chosen; `head`: weights and biases (K, D + 1) that take the place of a training, where a recalibration was chosen, with the
    `rehearsal_weight` of its own training. `deployment`: whose retained images train the last blocks, `fine_tune_minutes` long at most; empty where a
    head alone is trained. `num_gone`: right predictions of the champion that are not among these, for lack of their image, and would judge the next
    version. Empty for a training on images alone.
    """

    labelled: pd.DataFrame
    recent: pd.DataFrame
    backbone: str
    side_pixels: int
    augmented: bool = False
    bias: str | None = None
    ladder: Ladder | None = None
    copies: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["ground_truth", "embedding"]))
    head: FloatArray | None = None
    rehearsal_weight: float = 0.0
    deployment: str = ""
    fine_tune_minutes: float = 0.0
    num_gone: int = 0

    @classmethod
    def none(cls) -> "FeedbackData":
        return cls(pd.DataFrame(columns=COLUMNS), pd.DataFrame(), "", 0)

    def of_role(self, role: str) -> pd.DataFrame:
        return self.labelled[self.labelled["role"] == role]

    def credible(self) -> pd.DataFrame:
        """The labels of known classes from sources that are not accused; contradicted ones among them train nothing."""
        return self.labelled[(self.labelled["role"] != "quarantined") | (self.labelled["reason"] == CONTRADICTED)]

    def evaluating(self) -> pd.DataFrame:
        """The credible labels of held-back scenes. Contradicted ones are among them: without the hard images both models would look better."""
        credible = self.credible()
        return credible[credible["evaluates"].astype(bool)]

    @property
    def trains_blocks(self) -> bool:
        """Whether the last blocks are trained on retained images."""
        return self.ladder is not None and self.ladder.num_images > 0

    def rows(self, role: str, class_names: list[str]) -> tuple[FloatArray, NDArray[np.int64]]:
        """Embeddings and classes of a role, (N, D) and (N,); empty where there are none."""
        return self.rows_of(self.of_role(role), class_names)

    def rows_of(self, table: pd.DataFrame, class_names: list[str]) -> tuple[FloatArray, NDArray[np.int64]]:
        """Embeddings and classes of labelled predictions, or of copies, (N, D) and (N,)."""
        places = {name: place for place, name in enumerate(class_names)}
        return embeddings_of(table), table["ground_truth"].map(places).to_numpy(np.int64)

    def fits(self, backbone: str, side_pixels: int) -> bool:
        return (self.backbone, self.side_pixels) == (backbone, side_pixels) and len(self.labelled) > 0

    def suspicion(self, settings: FeedbackSettings) -> str | None:
        """Why all of these labels should await approval; None where that is not so."""
        judged = self.labelled[self.labelled["quality"].notna()]
        if judged.empty:
            return None
        scenes = judged.assign(accused=judged["reason"].str.startswith(ACCUSED)).groupby("scene")[["quality", "accused"]].mean()
        accused, contradicted = scenes["accused"] > 0, scenes["quality"] < settings.min_label_quality
        if accused.mean() > settings.max_quarantined:
            worst = judged.loc[judged["reason"].str.startswith(ACCUSED)].groupby(["feedback_source", "reason"]).size().idxmax()
            return (
                f"the labels of {accused.mean():.0%} of {len(scenes)} scenes may be poisoned, {settings.max_quarantined:.0%} are allowed: source "
                f"'{worst[0]}' {worst[1].removeprefix(ACCUSED)}; they await approval"
            )
        if contradicted.mean() > settings.max_contradicted:
            return (
                f"the labels of {contradicted.mean():.0%} of {len(scenes)} scenes contradict models that have not seen them, "
                f"{settings.max_contradicted:.0%} are allowed: they are unconfirmed, and await approval"
            )
        return None


def with_image(labelled: pd.DataFrame) -> pd.DataFrame:
    """The labelled predictions whose images were retained."""
    return labelled[labelled["retained"].astype(bool)]


def select_feedback(
    labelled: pd.DataFrame,
    recent: pd.DataFrame,
    known: tuple[FloatArray, NDArray[np.int64]],
    class_names: list[str],
    source: tuple[str, int],
    settings: FeedbackSettings,
    scene_distance: float = 0.0,
    data_set: Collection[str] = (),
) -> FeedbackData:
    """Give every labelled prediction its role. `known`: embeddings and classes of images whose labels were checked; `data_set`: the
    SHA-256 of its images, which have a split already.

    Each image counts once, and all images of a scene have one role (`in_scenes`), so that none trains and evaluates: the role follows
    from the first labelled image of the scene, and so does not change. A scene of the training images evaluates nothing.
    """
    labelled, recent = in_scenes(scene_distance, labelled, recent)
    table = labelled[~labelled["sha256"].isin(data_set)].drop_duplicates("sha256", keep="last").tail(settings.max_labels)
    table = table.reset_index(drop=True)
    roles = [role_of(scene, settings.held_back) for scene in table["scene"]]
    table = table.assign(role=roles, reason="", quality=np.nan, retained=False)
    in_training = table.loc[shows_one_of(embeddings_of(table), known[0], scene_distance), "scene"]
    table.loc[table["scene"].isin(in_training), "role"] = "train"
    table["evaluates"] = table["role"] == "held_back"
    unknown = ~table["ground_truth"].isin(class_names)
    table.loc[unknown, ["role", "reason"]] = "quarantined", "none of the classes that the model knows"
    surplus = (table[::-1].groupby("feedback_source").cumcount()[::-1] >= settings.max_per_source) & ~unknown
    table.loc[surplus, ["role", "reason"]] = "quarantined", f"more than {settings.max_per_source} labels from one source"
    usable = table["role"] != "quarantined"
    if usable.sum() >= settings.fewest_scenes:
        with threadpool_limits(1):
            table.loc[usable, "quality"] = _qualities(table[usable], known, class_names)
        table.loc[usable & is_accepted(table), "quality"] = 1.0
        contradicted = usable & (table["quality"] < settings.min_label_quality)
        table.loc[contradicted, ["role", "reason"]] = "quarantined", CONTRADICTED
    by_source = table["scene"] + " " + table["feedback_source"]  # several sources may label one scene
    accusations = accused_labels(table[~unknown & ~by_source.duplicated()], known, class_names)
    accused = by_source.map(dict(zip(by_source[accusations.index], accusations, strict=True))).fillna("")
    for reason in set(accused) - {""}:
        table.loc[accused == reason, ["role", "reason", "quality"]] = "quarantined", ACCUSED + reason, 0.0
    counts = table["role"].value_counts().to_dict()
    logger.info("of %d labels: %s", len(table), ", ".join(f"{counts.get(role, 0)} {role.replace('_', ' ')}" for role in ROLES))
    return FeedbackData(table[COLUMNS].reset_index(drop=True), recent, *source)


def in_scenes(distance: float, labelled: pd.DataFrame, others: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of both tables with an embedding, and their `scene`: the SHA-256 of its first image, in the order of the first label.
    Rows without a label come last, and change no scene of labelled ones.
    """
    tables = [table[table["embedding"].notna()] for table in (labelled, others)]
    in_order = [
        table.sort_values(by, kind="stable") for table, by in zip(tables, ("first_time", "time"), strict=True) if len(table)
    ]
    if not in_order:
        return tables[0].assign(scene=""), tables[1].assign(scene="")
    images = pd.concat([table[["sha256", "embedding"]] for table in in_order]).drop_duplicates("sha256")
    firsts = scenes_of(embeddings_of(images), distance)
    scene_of = dict(zip(images["sha256"], images["sha256"].to_numpy()[firsts], strict=True))
    first, second = (table.assign(scene=table["sha256"].map(scene_of)) for table in tables)
    return first, second


def role_of(scene: str, held_back: float) -> str:
    """Return the role of the labelled images of a scene; it follows from the scene's name, and so never changes."""
    place = int(hashlib.sha256(scene.encode()).hexdigest()[:8], 16) / 2**32
    if place < held_back:
        return "held_back"
    return "validation" if place < held_back + (1 - held_back) * VALIDATION_SHARE else "train"


def _qualities(table: pd.DataFrame, known: tuple[FloatArray, NDArray[np.int64]], class_names: list[str]) -> NDArray[np.float64]:
    """The probability of each label by a model of the known images and of the other labels, (N,).

    Known images say little about images that are not typical. There a label counts as likely that a model of the other labels alone predicts: honest
    labels can be learnt from each other, labels at random cannot. Labels that rename the predicted classes can be learnt too, and get no such credit.
    """
    targets_N = table["ground_truth"].map({name: place for place, name in enumerate(class_names)}).to_numpy(np.int64)
    folds_N, rows_N = pd.factorize(table["scene"])[0] % NUM_FOLDS, np.arange(len(table))
    embeddings_ND = embeddings_of(table)
    qualities_N: NDArray[np.float64] = _out_of_fold(embeddings_ND, targets_N, folds_N, known, len(class_names))[rows_N, targets_N]
    if rename_classes(table):
        return qualities_N
    nothing = known[0][:0], known[1][:0]
    by_labels_NK = _out_of_fold(embeddings_ND, targets_N, folds_N, nothing, len(class_names))
    learnable_N = (by_labels_NK.argmax(1) == targets_N) & (by_labels_NK.max(1) > 0) & ~table["typical"].to_numpy(bool)
    qualities_N[learnable_N] = np.maximum(qualities_N[learnable_N], LEARNABLE)
    return qualities_N


def _out_of_fold(
    embeddings_ND: FloatArray,
    targets_N: NDArray[np.int64],
    folds_N: NDArray[np.intp],
    known: tuple[FloatArray, NDArray[np.int64]],
    num_classes: int,
) -> NDArray[np.float64]:
    """Probabilities by models of the known images and of the other folds, (N, K); 0 where a model would know one class only."""
    from sklearn.linear_model import LogisticRegression

    known_ND, known_N = known
    scale = float(np.linalg.norm(np.concatenate([known_ND, embeddings_ND]), axis=1).mean())
    probabilities_NK = np.zeros((len(targets_N), num_classes))
    for fold in np.unique(folds_N):
        other_folds, this_fold = folds_N != fold, folds_N == fold
        rows_ND = np.concatenate([known_ND, embeddings_ND[other_folds]]) / scale
        targets = np.concatenate([known_N, targets_N[other_folds]])
        if len(np.unique(targets)) < 2:
            continue
        weights = np.concatenate([np.ones(len(known_N)), np.full(int(other_folds.sum()), LABEL_WEIGHT)])
        model = LogisticRegression(C=10.0, max_iter=200).fit(rows_ND, targets, sample_weight=weights)
        probabilities_NK[np.ix_(this_fold, model.classes_)] = model.predict_proba(embeddings_ND[this_fold] / scale)
    return probabilities_NK
