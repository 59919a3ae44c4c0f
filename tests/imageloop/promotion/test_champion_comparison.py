import numpy as np
import pandas as pd
import pytest

from imageloop.promotion.champion_comparison import against_champion, changed_classes, difference_of, paired_difference

MARGIN = 0.01


def right_in(share: float, count: int = 200, seed: int = 0) -> pd.DataFrame:
    right = np.arange(count) < share * count
    np.random.default_rng(seed).shuffle(right)
    return pd.DataFrame({"sha256": [str(number) for number in range(count)], "right": right})


def test_the_paired_difference_covers_the_true_difference():
    difference = paired_difference(right_in(0.9, seed=1), right_in(0.8, seed=2))

    assert difference.mean == pytest.approx(0.1)
    assert difference.low < 0.1 < difference.high


def test_the_interval_holds_the_true_difference_in_95_of_100_cases():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(2000):
        draws = rng.random(150)
        candidate, champion = draws < 0.85, (draws < 0.8) ^ (rng.random(150) < 0.05)  # 0.8 * 0.95 + 0.2 * 0.05 = 0.77
        difference = difference_of(candidate, champion)
        covered.append(difference.low <= 0.85 - 0.77 <= difference.high)

    assert 0.94 <= np.mean(covered) <= 0.975


@pytest.mark.parametrize(
    ("count", "better", "worse", "passed", "undecided"),
    [
        (54, 0, 0, True, False),  # not worse at all
        (54, 0, 1, False, True),  # one image proves nothing
        (54, 0, 10, False, False),  # proved worse
        (20_000, 100, 110, True, False),  # proved not worse by a point
        (150, 3, 6, False, True),
    ],
)
def test_only_what_is_proved_is_decided(count, better, worse, passed, undecided):
    candidate, champion = np.ones(count, bool), np.ones(count, bool)
    champion[:better], candidate[better : better + worse] = False, False

    check = against_champion(difference_of(candidate, champion), MARGIN)

    assert (check.passed, check.undecided) == (passed, undecided)
    assert ("too few to decide: about" in check.got) is undecided


def test_two_hundred_retrainings_do_not_lead_downhill():
    """Each candidate's true accuracy is drawn around the champion's; the two share most of their mistakes, as versions of one model do."""
    ends = [_accuracy_after_retrainings(seed) for seed in range(100)]

    assert sum(end < -MARGIN for end in ends) <= 5


def _accuracy_after_retrainings(seed: int, num_images: int = 150, num_retrainings: int = 200) -> float:
    """The champion's true accuracy after the retrainings less that at the beginning."""
    rng = np.random.default_rng(seed)
    difficulty = rng.random(num_images)  # a model of true accuracy a is right where this, a little perturbed, is below a

    def right_with(accuracy: float) -> np.ndarray:
        return np.where(rng.random(num_images) < 0.8, difficulty, rng.random(num_images)) < accuracy

    accuracy = start = 0.85
    champion, best = right_with(accuracy), 0.0
    best = champion.mean()
    for _ in range(num_retrainings):
        true = float(np.clip(accuracy + rng.normal(0, 0.02), 0, 1))
        candidate = right_with(true)
        if against_champion(difference_of(candidate, champion), MARGIN).passed and candidate.mean() >= best - MARGIN:
            accuracy, champion, best = true, candidate, max(best, candidate.mean())
    return accuracy - start


def test_changed_classes_are_named():
    assert changed_classes(["ant", "bee"], ["bee", "cat"]) == "added 'cat' and removed 'ant'"
    assert changed_classes(["ant"], ["ant", "bee"]) == "added 'bee'"
    assert changed_classes(["ant", "bee"], ["bee", "ant"]) == "the same in another order"
