"""The figures and headlines of a demo loop, from requests and windows that are made up."""

from dataclasses import replace

import pytest

from imageloop.monitoring.windows import Window
from operations.demo_loop.demo_loop_summary import ScenarioResult, headlines, summarise
from operations.demo_loop.traffic import SentRequest

TITLES = (
    "unchanged images",
    "changed images",
    "labels arrive",
    "after retraining",
    "poisoned labels arrive",
    "bad model is deployed",
)
RESULTS = [
    ScenarioResult(title, "240 poisoned labels; alert: they may be poisoned" * title.startswith("poisoned"), 100.0 * place, 100.0)
    for place, title in enumerate(TITLES)
]


def sent(version_after: str) -> list[SentRequest]:
    """A request a second, right in nine of ten cases; in the two scenarios of changed images in one of two."""
    rows = []
    for second in range(600):
        right = second % 2 == 0 if 100 <= second < 300 else second % 10 != 0
        rows.append(SentRequest(float(second), "1" if second < 250 else version_after, right, "cat", str(second)))
    return rows


def window(start: float, *, alarm: bool) -> Window:
    return Window("1", start, start + 20, 20, 0.5, alarm, [], 0.7, 0.9, 0.0, False, {})


def test_a_demo_loop_is_summed_up_by_what_happened():
    windows = [window(30, alarm=False), window(110, alarm=False), window(140, alarm=True), window(210, alarm=True)]

    summary = summarise(RESULTS, sent("2"), windows)

    assert (summary.images_until_drift, summary.promoted, summary.poisoned_labels_refused) == (61, "2", True)
    assert (summary.accuracy_before, summary.accuracy_during, summary.accuracy_after) == pytest.approx((0.9, 0.5, 0.9))
    assert summary.estimated_accuracy == pytest.approx(0.7)
    assert headlines(summary, 0) == [
        "unchanged images: 0 false alarms",
        "changed images: drift after 61 images",
        "labels: version 2 promoted",
        "retrained: accuracy 90%, 50% before",
        "poisoned labels refused",
        "bad version rolled back",
    ]


def test_what_did_not_happen_is_not_claimed():
    results = [replace(result, outcome="240 poisoned labels; nothing") for result in RESULTS]

    summary = summarise(results, sent("1"), [window(110, alarm=False)])

    assert (summary.images_until_drift, summary.promoted, summary.poisoned_labels_refused) == (None, None, False)
    assert "drift not noticed" in headlines(summary, 0)[1]
    assert headlines(summary, 0)[2:5] == [
        "labels: no version promoted",
        "not retrained: accuracy 90%, 50% before",
        "poisoned labels believed",
    ]
    assert summarise(results, sent("1"), []).estimated_accuracy is None
