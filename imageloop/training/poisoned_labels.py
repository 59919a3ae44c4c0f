"""Poisoned labels, or honest labels after drift? Judged by source, with signs that neither drift nor a broken model produces.

A model that drift broke contradicts honest labels, so contradictions alone accuse nobody. Three signs do:

- labels contradict confident predictions for typical images, which drift makes rare and does not make wrong,
- a model of the other new labels predicts them hardly better than chance, while labels of as many known images are predicted well,
- another naming of the predicted classes would turn many of them right.

Labels that are swapped consistently cannot be distinguished from renamed classes, nor after a change from classes that look otherwise now.

Shapes: N labels, D features, K classes.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from imageloop.embeddings.drift_samples import embeddings_of
from imageloop.embeddings.same_scene import unit
from imageloop.evenly_spaced import evenly_spaced

SURE, MIN_SURE = 0.9, 5
MISTAKES, P_VALUE = 0.03, 0.02  # honest labels are sometimes wrong, too
STRETCH, SHORTEST = 200, 40  # labels of one source that are judged together
LEARNT = 0.2  # of the agreement beyond chance that labels of known images reach
LABELS_PER_CLASS = 2.5  # with fewer, honest labels cannot be learnt either
FEWEST_CONTRADICTED = 0.3  # labels that confirm the predictions are not judged by what others teach
RENAMED = 0.3  # share of the labels that another naming of the classes would turn right
RIDGE = 0.3
ACCEPTED = "accepted"  # a review of a label, as the database stores it
Known = tuple[NDArray[np.float32], NDArray[np.int64]]


def accused_labels(labelled: pd.DataFrame, known: Known | None, class_names: list[str]) -> pd.Series:
    """For each label why its source may be poisoned, "" where it is not accused.

    `labelled`: one row a scene (label, ground_truth, confidence, typical, feedback_source, feedback_time, embedding); `known`: embeddings and
    classes of images whose labels were checked, None where they are not known. Labels that a user accepted are not judged.
    """
    reasons = pd.Series("", index=labelled.index)
    for stretch in _stretches(labelled[~is_accepted(labelled)]):
        reasons[stretch.index] = _accusation(stretch, known, class_names)
    return reasons


def is_accepted(labelled: pd.DataFrame) -> pd.Series:
    """Whether a user accepted each label, by the column `review`, where there is one."""
    return labelled["review"] == ACCEPTED if "review" in labelled else pd.Series(False, index=labelled.index)


def rename_classes(labelled: pd.DataFrame) -> bool:
    """Whether the model still separates the classes, and the labels name them otherwise: by swapped labels, or renamed classes.

    A model that drift broke separates them no more, so no renaming of its classes fits the labels much better than their own names.
    """
    from scipy.optimize import linear_sum_assignment

    names = sorted({*labelled["label"], *labelled["ground_truth"]})
    counts_KK = pd.crosstab(labelled["label"], labelled["ground_truth"])
    counts_KK = counts_KK.reindex(index=names, columns=names, fill_value=0).to_numpy()
    _, columns = linear_sum_assignment(counts_KK, maximize=True)
    renamed_KK = counts_KK[:, columns] / max(1, counts_KK.sum())
    agreement, by_chance = float(np.trace(renamed_KK)), float(renamed_KK.sum(0) @ renamed_KK.sum(1))
    separated = agreement - by_chance > RENAMED * (1 - by_chance)
    return separated and agreement - float(np.trace(counts_KK)) / max(1, counts_KK.sum()) > RENAMED


def _stretches(labelled: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Consecutive labels of each source; a short rest belongs to the stretch before it."""
    for _, of_source in labelled.sort_values("feedback_time", kind="stable").groupby("feedback_source", sort=False):
        count = max(1, (len(of_source) + STRETCH - SHORTEST) // STRETCH)
        yield from (of_source.iloc[rows] for rows in np.array_split(np.arange(len(of_source)), count))


def _accusation(stretch: pd.DataFrame, known: Known | None, class_names: list[str]) -> str:
    from scipy.stats import poisson_binom

    contradicted = stretch["label"] != stretch["ground_truth"]
    sure = (stretch["confidence"] >= SURE) & stretch["typical"].astype(bool)
    num_sure, num_contradicted = int(sure.sum()), int((sure & contradicted).sum())
    expected_n = np.minimum(1 - stretch.loc[sure, "confidence"].to_numpy(float) + MISTAKES, 1)
    if num_sure >= MIN_SURE and poisson_binom(expected_n).sf(num_contradicted - 1) < P_VALUE:
        return (
            f"{num_contradicted} of {num_sure} confident predictions for typical images are contradicted, "
            f"and {expected_n.sum():.0f} would be expected"
        )
    if len(stretch) < SHORTEST or contradicted.mean() < FEWEST_CONTRADICTED:
        return ""
    if rename_classes(stretch):
        return "another naming of the classes would turn its labels right"
    if known is None or len(stretch) < LABELS_PER_CLASS * len(class_names) or stretch["embedding"].isna().any():
        return ""
    learnt, usual = _agreements(stretch, known, class_names)
    if learnt < LEARNT * usual:
        return f"its labels cannot be learnt from each other (agreement beyond chance {learnt:.2f}, of known images {usual:.2f})"
    return ""


def _agreements(stretch: pd.DataFrame, known: Known, class_names: list[str]) -> tuple[float, float]:
    """How well labels are predicted from each other: these, and those of as many known images."""
    places = {name: place for place, name in enumerate(class_names)}
    targets_N = stretch["ground_truth"].map(places).to_numpy(np.int64)
    rows = evenly_spaced(len(known[1]), len(stretch))
    return (
        learnt_agreement(embeddings_of(stretch), targets_N, len(class_names)),
        learnt_agreement(known[0][rows], known[1][rows], len(class_names)),
    )


def learnt_agreement(embeddings_ND: NDArray[np.float32], targets_N: NDArray[np.int64], num_classes: int) -> float:
    """Cohen's kappa between labels and what ridge regression on all other ones predicts; 0 is chance.

    The leave-one-out predictions follow from one inverse. Source: Allen, The relationship between variable selection and data augmentation, 1974.
    """
    unit_ND = unit(embeddings_ND).astype(np.float64)
    centred_ND = unit_ND - unit_ND.mean(0)
    gram_NN = centred_ND @ centred_ND.T
    count = len(targets_N)
    strength = RIDGE * np.trace(gram_NN) / count + 1e-9
    with threadpool_limits(1):
        hat_NN = gram_NN @ np.linalg.inv(gram_NN + strength * np.eye(count)) + 1 / count
    one_hot_NK, own_N1 = np.eye(num_classes)[targets_N], np.diag(hat_NN)[:, None]
    predicted_N = ((hat_NN @ one_hot_NK - own_N1 * one_hot_NK) / np.maximum(1 - own_N1, 1e-9)).argmax(1)
    shares = [np.bincount(values, minlength=num_classes) / count for values in (predicted_N, targets_N)]
    by_chance = float(shares[0] @ shares[1])
    return (float((predicted_N == targets_N).mean()) - by_chance) / max(1 - by_chance, 1e-9)
