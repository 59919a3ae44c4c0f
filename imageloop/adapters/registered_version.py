"""A version of the registry as its tags describe it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imageloop.renamed_settings import with_new_names

MADE_WITH = "made_with"  # the tag
LABELS = "labels"  # the tag: how many labelled predictions, or changed copies, it was trained or judged on
TEST_SET = "test_set"  # the tag: the hash of the test images, so that versions of the same ones can be compared
ROLLOUT = "rollout"  # the tag of a version that was rolled back
CLASS_NAMES = "class_names"  # the tag, a JSON list; absent where the names are too long for one
MAX_TAG = 4000  # characters of a tag that every store of MLflow takes
OVERRULED = "by a user: "  # the tag `approved` begins with it where a reason was given
METRICS = "metrics"  # the tag
AGAINST = "judged_against"  # the tag: the champion that the gates compared it with, empty if there was none
VERDICT = "verdict"  # the tag
# What the tag says to people for each verdict; a registry from before 0.3 has the verdicts themselves.
VERDICT_WORDS = {"rollback": "refused", "hold": "awaiting approval", "advance": "passed"}
ROLLED_BACK = "rolled back"  # in place of `refused`, where a rollout or a user took the version back
VERDICTS = {words: verdict for verdict, words in VERDICT_WORDS.items()} | {ROLLED_BACK: "rollback"}


@dataclass(frozen=True)
class RegisteredVersion:
    """`verdict`: advance, rollback (refused by a gate) or hold (awaits approval); `approved` by a user.

    `overruled`: the user gave a reason to overrule a gate or a rollout. `accuracy` on the test images whose hash is `test_set`; None and
    empty where they were not stored. `rolled_back`: once, by a rollout or by hand.

    `judged_against`: the champion at that time, empty if there was none; None if it was not stored. `interval`: of the accuracy, 95 %;
    `made_at`: ISO 8601, UTC; `backbone` and `data` name what was trained, and on what; empty where they were not stored.
    """

    name: str
    version: str
    run_id: str
    verdict: str
    reason: str
    digest: str
    approved: bool = False
    judged_against: str | None = None
    accuracy: float | None = None
    test_set: str = ""
    overruled: bool = False
    rolled_back: bool = False
    interval: tuple[float, float] | None = None
    made_at: str = ""
    backbone: str = ""
    data: str = ""


def registered_version(found: Any) -> RegisteredVersion:
    """Read a version of MLflow's."""
    tags = found.tags
    metrics = json.loads(tags.get(METRICS, "{}"))
    made_with = with_new_names(json.loads(tags.get(MADE_WITH, "{}")))
    model = made_with.get("training", {}).get("model", {})
    has_interval = {"accuracy_low", "accuracy_high"} <= metrics.keys()
    return RegisteredVersion(
        found.name,
        str(found.version),
        found.run_id,
        VERDICTS.get(words := tags.get(VERDICT, ""), words),
        tags.get("reason", ""),
        tags.get("package_digest", ""),
        "approved" in tags,
        tags.get(AGAINST),
        metrics.get("accuracy"),
        tags.get(TEST_SET, ""),
        tags.get("approved", "").startswith(OVERRULED),
        ROLLOUT in tags,
        interval=(metrics["accuracy_low"], metrics["accuracy_high"]) if has_interval else None,
        made_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        backbone=name_of_model(model),
        data=name_of_data(made_with.get("data", {})),
    )


def name_of_model(model: dict[str, Any]) -> str:
    """The backbone, and how many of its blocks were trained; else the kind of model."""
    blocks = model.get("fine_tune_blocks")
    return str(model.get("backbone") or model.get("kind", "")) + (f", {blocks} blocks fine-tuned" if blocks else "")


def name_of_data(data: dict[str, Any]) -> str:
    """The last part of the folder, archive, repository or data set that the images came from; else the kind of source."""
    source = data.get("source") or {}
    place = next((source[key] for key in ("path", "location", "repository", "dataset", "competition") if source.get(key)), "")
    return Path(str(place)).name or str(source.get("kind", ""))
