import numpy as np
from sklearn.metrics import classification_report

from imageloop.training.classification_metrics import ClassificationScores, confusion_matrix, score


def test_the_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    targets, predicted = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    names = ["a", "b", "c"]

    ours = score(predicted, targets, names)

    theirs = classification_report(targets, predicted, target_names=names, output_dict=True)
    assert np.isclose(ours.accuracy, theirs["accuracy"])
    assert np.isclose(ours.f1, theirs["macro avg"]["f1-score"])
    assert np.isclose(ours.by_class["b"].recall, theirs["b"]["recall"])
    assert ours.by_class["c"].support == theirs["c"]["support"]
    assert ClassificationScores.from_dict(ours.as_dict()) == ours
    assert ours.flat()["b_precision"] == ours.by_class["b"].precision


def test_a_class_that_is_never_predicted_scores_zero():
    scores = score(np.zeros(4, int), np.array([0, 0, 1, 1]), ["a", "b"])

    assert scores.by_class["b"].precision == scores.by_class["b"].f1 == 0
    assert confusion_matrix(np.zeros(4, int), np.array([0, 0, 1, 1]), 2).tolist() == [[2, 0], [2, 0]]
