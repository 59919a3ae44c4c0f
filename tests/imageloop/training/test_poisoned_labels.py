"""Which source is accused of poisoned labels: on drawn features, with a model that knows its classes and one that drift broke."""

import numpy as np
import pandas as pd
import pytest

from imageloop.training.poisoned_labels import accused_labels, learnt_agreement, rename_classes

NAMES = [f"class {number}" for number in range(5)]
SIZE = 24


def drawn(count, seed, moved=0.0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, len(NAMES), count)
    return (rng.normal(size=(count, SIZE)) + 5 * np.roll(np.eye(SIZE), 6 if moved else 0, axis=1)[targets]).astype(
        np.float32
    ), targets


KNOWN = drawn(400, 0)


def labels(count, *, flipped=0.0, broken=False, source="http", seed=1, start=0.0):
    """Labels of which a share is of another class; `broken`: drift moved the images, and the model predicts at random, with confidence."""
    rng = np.random.default_rng(seed + 1000)
    embeddings, targets = drawn(count, seed, moved=1.0 if broken else 0.0)
    predicted = rng.integers(0, len(NAMES), count) if broken else targets
    wrong = rng.random(count) < flipped
    labelled = np.where(wrong, (targets + rng.integers(1, len(NAMES), count)) % len(NAMES), targets)
    times = start + np.arange(count, dtype=float)
    return pd.DataFrame(
        {
            "label": [NAMES[place] for place in predicted], "ground_truth": [NAMES[place] for place in labelled], "confidence": 0.97,
            "typical": not broken, "feedback_source": source, "feedback_time": times, "embedding": [row.astype(np.float16).tobytes() for row in embeddings],
        }
    )  # fmt: skip


def accused(table):
    return accused_labels(table, KNOWN, NAMES)


@pytest.mark.parametrize("broken", [False, True])
def test_honest_labels_are_not_accused_whether_the_model_is_right_or_broken(broken):
    tables = [labels(200, broken=broken, seed=seed) for seed in range(20)]

    assert all((accused(table) == "").all() for table in tables)


@pytest.mark.parametrize(("broken", "words"), [(False, "confident predictions"), (True, "cannot be learnt from each other")])
def test_labels_of_which_most_are_flipped_are_accused_with_the_reason(broken, words):
    reasons = accused(labels(200, flipped=0.7, broken=broken))

    assert reasons.str.contains(words).all()


def test_a_source_that_flips_a_fifth_is_accused_and_one_that_is_sometimes_mistaken_is_not():
    poisoned = [accused(labels(200, flipped=0.2, seed=seed)) for seed in range(20)]
    mistaken = [accused(labels(200, flipped=0.03, seed=seed)) for seed in range(20)]

    assert all((reasons != "").all() for reasons in poisoned)
    assert all((reasons == "").all() for reasons in mistaken)


def test_only_the_source_of_poisoned_labels_is_accused():
    honest, poisoned = labels(150, source="api:line-1"), labels(150, flipped=0.5, source="api:line-2", seed=2)

    reasons = accused(pd.concat([honest, poisoned], ignore_index=True))

    assert (reasons[:150] == "").all()
    assert (reasons[150:] != "").all()


def test_poisoned_labels_that_follow_honest_ones_of_the_same_source_are_accused_alone():
    table = pd.concat([labels(400), labels(200, flipped=1.0, seed=2, start=400.0)], ignore_index=True)

    reasons = accused(table)

    assert (reasons[:400] == "").all()
    assert (reasons[400:] != "").all()


def test_a_source_that_swaps_two_classes_is_accused_and_a_window_of_one_class_is_not():
    table = labels(200).assign(confidence=0.8)
    swapped = table.assign(ground_truth=table["ground_truth"].map(dict(zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))))
    collapsed = table.assign(label=NAMES[0], ground_truth=NAMES[1])

    assert rename_classes(swapped)
    assert accused(swapped).str.contains("another naming").all()
    assert not rename_classes(collapsed)


def test_few_labels_and_labels_without_embeddings_accuse_nobody_without_confident_contradictions():
    few = labels(20, flipped=1.0).assign(confidence=0.6)
    without = labels(200, flipped=0.6).assign(confidence=0.6, embedding=None)

    assert (accused(few) == "").all()
    assert (accused(without) == "").all()
    assert accused_labels(few.head(0), None, NAMES).empty


def test_labels_are_learnt_from_each_other_unless_they_are_random():
    embeddings, targets = drawn(200, 3)

    assert learnt_agreement(embeddings, targets, 5) > 0.9
    assert abs(learnt_agreement(embeddings, np.random.default_rng(0).permutation(targets), 5)) < 0.2
