"""Labels from the service: each gets a role that stays, and poisoned teach nothing."""

import numpy as np
import pandas as pd
import pytest

from imageloop.embeddings.drift_samples import with_typical
from imageloop.embeddings.novelty import Novelty
from imageloop.embeddings.same_scene import scene_distance
from imageloop.training.feedback_data import FeedbackData, select_feedback
from imageloop.training.settings import FeedbackSettings

NAMES = ["cat", "dog"]
SETTINGS = FeedbackSettings(min_labels=20)


def known(count: int = 400, seed: int = 0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    return (rng.normal(size=(count, 24)) + 4 * np.eye(24)[targets]).astype(np.float32), targets


def labelled(count: int, *, poisoned: int = 0, start: int = 0, source: str = "http", seed: int = 1) -> pd.DataFrame:
    """Predictions of a model that knows; the last `poisoned` labels say the other class."""
    embeddings, targets = known(count, seed)
    ground_truth = [NAMES[target] for target in targets]
    labels = [name if n < count - poisoned else NAMES[1 - NAMES.index(name)] for n, name in enumerate(ground_truth)]
    return pd.DataFrame(
        {
            "request_id": [f"{start + n:032x}" for n in range(count)], "time": np.arange(start, start + count, dtype=float),
            "sha256": [f"image {start + n}" for n in range(count)], "label": ground_truth, "confidence": 0.95, "typical": True, "ground_truth": labels,
            "feedback_source": source, "feedback_time": np.arange(start, start + count, dtype=float), "model_version": "1",
            "first_time": np.arange(start, start + count, dtype=float),
            "embedding": [row.astype(np.float16).tobytes() for row in embeddings],
        }
    )  # fmt: skip


def gathered(table: pd.DataFrame, settings: FeedbackSettings = SETTINGS, distance: float = 0.0) -> FeedbackData:
    return select_feedback(table, table.head(0), known(), NAMES, ("net", 224), settings, distance)


def test_every_label_has_one_role_and_more_labels_do_not_change_it():
    few, more = gathered(labelled(200)), gathered(pd.concat([labelled(200), labelled(100, start=200, seed=2)]))

    roles = more.labelled.set_index("request_id")["role"]
    assert few.labelled["role"].tolist() == roles[few.labelled["request_id"]].tolist()
    assert 0.2 < (roles == "held_back").mean() < 0.4
    assert set(roles) <= {"train", "validation", "held_back", "quarantined"}
    assert few.suspicion(SETTINGS) is None


def test_rows_for_training_are_embeddings_with_their_true_classes():
    feedback = gathered(labelled(100))

    rows_ND, targets_N = feedback.rows("train", NAMES)

    assert rows_ND.shape == (len(feedback.of_role("train")), 24)
    assert set(targets_N.tolist()) == {0, 1}
    assert feedback.fits("net", 224)
    assert not feedback.fits("net", 240)
    assert not FeedbackData.none().fits("net", 224)


def test_an_image_that_was_sent_twice_teaches_or_judges_but_not_both():
    table = labelled(100)

    feedback = gathered(pd.concat([table, table.assign(request_id=[f"{1000 + n:032x}" for n in range(100)])]))

    assert len(feedback.labelled) == 100
    before = gathered(table).labelled.set_index("sha256")["role"]
    assert feedback.labelled.set_index("sha256")["role"].equals(before)  # also where it was asked about again since


def filmed(num_scenes: int, num_frames: int) -> pd.DataFrame:
    """Frames of scenes, one scene after the other."""
    table = labelled(num_scenes)
    rng = np.random.default_rng(5)
    frames = table.loc[table.index.repeat(num_frames)].reset_index(drop=True)
    near = [
        (np.frombuffer(row, np.float16) + 0.02 * rng.normal(size=24)).astype(np.float16).tobytes() for row in frames["embedding"]
    ]
    numbers = {"request_id": [f"{n:032x}" for n in frames.index], "sha256": [f"frame {n}" for n in frames.index]}
    return frames.assign(**numbers, embedding=near, scene_name=frames["sha256"], first_time=frames.index.astype(float))


def test_frames_of_a_scene_teach_or_judge_but_not_both():
    table, distance = filmed(20, 10), scene_distance(*known())
    scenes = table.set_index("sha256")["scene_name"]

    taken = gathered(table, distance=distance).labelled
    few = gathered(table.head(105), distance=distance).labelled
    roles = taken.assign(scene_name=taken["sha256"].map(scenes)).query("role != 'quarantined'").groupby("scene_name")["role"]

    assert taken["scene"].nunique() == 20
    assert (roles.nunique() == 1).all()
    assert set(roles.first()) == {"train", "validation", "held_back"}
    assert taken.head(105)["role"].tolist() == few["role"].tolist()


def test_a_label_that_is_corrected_changes_no_role():
    table, distance = filmed(20, 10), scene_distance(*known())
    corrected = table.assign(feedback_time=np.where(table.index % 10 == 0, 1000.0, table["feedback_time"]))

    before, after = (gathered(one, distance=distance) for one in (table, corrected))

    assert after.labelled["role"].tolist() == before.labelled["role"].tolist()


def test_a_scene_that_the_data_set_teaches_or_tests_judges_nothing():
    table, distance = filmed(20, 10), scene_distance(*known())
    inside = set(table["sha256"][::10])
    taught = np.stack([np.frombuffer(row, np.float16) for row in table["embedding"][:100:10]]).astype(np.float32)
    rows, targets = known()
    more = np.concatenate([rows, taught]), np.concatenate([targets, np.zeros(10, int)])

    taken = select_feedback(table, table.head(0), more, NAMES, ("net", 224), SETTINGS, distance, inside).labelled

    assert not set(taken["sha256"]) & inside
    assert set(taken.head(90)["role"]) <= {"train", "quarantined"}
    assert "held_back" in set(taken.tail(90)["role"])


def test_one_scene_is_one_observation():
    table, distance = filmed(1, 40), scene_distance(*known())

    taken = gathered(table, distance=distance)

    assert taken.labelled["scene"].nunique() == 1
    assert taken.labelled["quality"].notna().all()


def test_a_few_poisoned_labels_await_approval_and_the_rest_is_used():
    feedback = gathered(labelled(200, poisoned=12))

    poisoned_rows = feedback.labelled.tail(12)
    assert (poisoned_rows["role"] == "quarantined").mean() >= 0.8
    assert "contradict it" in poisoned_rows.iloc[0]["reason"]
    assert (feedback.labelled.head(188)["role"] == "quarantined").mean() < 0.1
    assert feedback.suspicion(SETTINGS) is None


def test_contradicted_labels_evaluate_though_they_train_nothing():
    """Hard images are contradicted more often: without them an evaluation would flatter."""
    feedback, without = gathered(labelled(200, poisoned=12)), gathered(labelled(200))

    assert feedback.evaluating()["request_id"].tolist() == without.evaluating()["request_id"].tolist()
    assert len(feedback.evaluating()) > len(feedback.of_role("held_back"))
    attacked = gathered(labelled(240, poisoned=120))
    assert not set(attacked.evaluating()["request_id"]) & set(attacked.labelled.tail(120)["request_id"])


def test_many_poisoned_labels_make_all_await_approval():
    feedback = gathered(labelled(240, poisoned=120))

    assert "may be poisoned" in feedback.suspicion(SETTINGS)


def test_sources_that_label_one_scene_are_judged_apart():
    """Each image is labelled twice, from two frames of one scene: rightly by one source, wrongly by another."""
    honest = labelled(120, source="http:honest")
    frames = labelled(120, poisoned=120, start=500, source="http:poisoned").assign(embedding=honest["embedding"])

    feedback = gathered(pd.concat([honest, frames], ignore_index=True), distance=1e-6)

    accused = feedback.labelled["reason"].str.contains("may be poisoned")
    assert feedback.labelled["scene"].nunique() == 120
    assert feedback.labelled.loc[accused, "feedback_source"].unique().tolist() == ["http:poisoned"]
    assert accused.sum() == 120


def test_labels_that_a_user_accepted_train_and_accuse_nobody():
    table = labelled(240, poisoned=120)
    reviewed = gathered(table.assign(review=[None] * 120 + ["accepted"] * 120))

    assert reviewed.suspicion(SETTINGS) is None
    assert not (reviewed.labelled.tail(120)["role"] == "quarantined").any()


def test_one_source_alone_cannot_flip_a_model():
    settings = FeedbackSettings(min_labels=20, max_per_source=50)
    table = pd.concat([labelled(200, source="http:a"), labelled(30, start=200, source="http:b", seed=3)])

    taken = gathered(table, settings).labelled.query("role != 'quarantined'")["feedback_source"].value_counts()

    assert taken["http:a"] <= 50
    assert taken["http:b"] >= 25


def test_a_class_that_the_model_does_not_know_waits_for_a_person():
    feedback = gathered(labelled(100).assign(ground_truth=["other" if n < 10 else "cat" for n in range(100)]))

    assert (feedback.labelled.head(10)["role"] == "quarantined").all()
    assert "none of the classes" in feedback.labelled.iloc[0]["reason"]


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_labels_are_stored_without_a_verdict(count):
    feedback = gathered(labelled(20).head(count))

    assert len(feedback.labelled) == count
    assert feedback.labelled["quality"].isna().all()
    assert feedback.suspicion(SETTINGS) is None


def test_typical_images_lie_as_near_as_most_training_images():
    rng = np.random.default_rng(0)
    known_ND = rng.normal(size=(200, 24)).astype(np.float32) + 4
    novelty = Novelty.of(known_ND, 2)
    near_ND, far_ND = known_ND[:50] + 0.01, rng.normal(size=(50, 24)).astype(np.float32)
    rows = [row.astype(np.float16).tobytes() for row in np.concatenate([near_ND, far_ND])]
    table = pd.DataFrame({"embedding": [*rows, None]})

    typical = with_typical(table, novelty)["typical"]

    assert typical[:50].mean() > 0.7
    assert not typical[50:].any()
    assert with_typical(table, None)["typical"].all()


def test_after_drift_honest_labels_are_learnt_from_each_other():
    """Drift turned the classes round in the features, and the broken model predicts at random."""
    table = labelled(200).assign(confidence=0.5, label=np.random.default_rng(0).choice(NAMES, 200))
    table["ground_truth"] = table["ground_truth"].map({NAMES[0]: NAMES[1], NAMES[1]: NAMES[0]})

    drifted, typical = (gathered(table.assign(typical=is_typical)) for is_typical in (False, True))

    assert drifted.suspicion(SETTINGS) is None
    assert (drifted.labelled["role"] == "quarantined").mean() < 0.05
    assert typical.labelled["quality"].mean() < drifted.labelled["quality"].mean()


def test_labels_that_rename_the_predicted_classes_confirm_nothing():
    table = labelled(200).assign(confidence=0.5)
    table["ground_truth"] = table["ground_truth"].map({NAMES[0]: NAMES[1], NAMES[1]: NAMES[0]})

    drifted, typical = (gathered(table.assign(typical=is_typical)).labelled for is_typical in (False, True))

    assert drifted["quality"].tolist() == typical["quality"].tolist()


def test_labels_of_one_class_alone_confirm_nothing():
    table = labelled(60).assign(ground_truth=NAMES[0])

    drifted, typical = (gathered(table.assign(typical=is_typical)).labelled for is_typical in (False, True))

    assert drifted["quality"].tolist() == typical["quality"].tolist()
