"""What may still become of a version that is registered already; whole promotions are tried in tests/system."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from imageloop.adapters.registered_version import RegisteredVersion
from imageloop.lifecycle import register_and_promote
from imageloop.lifecycle.feedback_images import ImagesByRequest
from imageloop.lifecycle.register_and_promote import PROMOTING, _is_open, register_version
from imageloop.promotion.gates import GateVerdict
from imageloop.promotion.settings import PromotionSettings
from imageloop.training.feedback_data import FeedbackData


@pytest.mark.parametrize(
    ("verdict", "against", "approval", "is_open"),
    [
        (PROMOTING, "1", "automatic", True),
        ("advance", "1", "automatic", False),
        ("rollback", "1", "automatic", False),
        ("hold", "1", "automatic", True),
        ("hold", "1", "manual", True),
        ("hold", "3", "manual", False),
    ],
)
def test_a_version_is_judged_again_where_that_could_change_something(verdict, against, approval, is_open):
    known = RegisteredVersion("imageloop", "2", "r1", verdict, "", "d", judged_against=against)

    assert _is_open(known, "3", PromotionSettings(approval=approval)) is is_open


NO_IMAGES = ImagesByRequest({}, Path())
NO_PREDICTIONS = pd.DataFrame(columns=["sha256", "label"])


class Registry:
    """In which another machine promotes version 3 while ours is written to it."""

    name = "imageloop"

    def __init__(self) -> None:
        self.title, self.tags = "1", {}

    def champion(self) -> str:
        return self.title

    def made_with(self, _version) -> None:
        return None

    def find(self, _digest) -> None:
        return None

    def register(self, _folder, _run, tags) -> str:
        self.tags, self.title = dict(tags), "3"
        return "4"

    def set_verdict(self, version, verdict, words=None):
        self.set_tag(version, "verdict", verdict)

    def set_tag(self, _version, key, value) -> None:
        self.tags[key] = value

    def promote(self, version) -> None:
        self.title = version


@pytest.mark.parametrize(
    ("second", "comparison", "verdict", "outcome", "title"),
    [
        ("advance", "compared", "advance", "champion", "4"),
        ("rollback", "compared", "rollback", "refused", "3"),
        ("advance", "not verified", "hold", "awaiting approval", "3"),
    ],
)
def test_a_champion_that_another_machine_promoted_is_not_replaced_without_a_comparison(
    monkeypatch, workspace, second, comparison, verdict, outcome, title
):
    registry = Registry()
    verdicts = {"1": GateVerdict("advance", [], "1", "compared"), "3": GateVerdict(second, [], "3", comparison)}
    monkeypatch.setattr(register_and_promote, "ModelRegistry", lambda _name: registry)
    monkeypatch.setattr(register_and_promote, "compare", lambda *_: (registry.title, None))
    monkeypatch.setattr(register_and_promote, "judge", lambda _evaluation, champion, *_: verdicts[champion])
    package = SimpleNamespace(digest=lambda: "d", folder=workspace.home)
    nothing = SimpleNamespace(overall=dict, model_dump_json=lambda: "{}", predictions=NO_PREDICTIONS, class_names=["cat", "dog"])

    found = register_version(
        package, nothing, verdicts["1"], None, "r", FeedbackData.none(), PromotionSettings(), nothing, workspace, NO_IMAGES
    )

    assert (found.outcome, registry.title) == (outcome, title)
    assert (registry.tags["verdict"], registry.tags["judged_against"]) == (verdict, "3")


def test_a_model_evaluated_by_complaints_awaits_approval(monkeypatch, workspace):
    registry = Registry()
    monkeypatch.setattr(register_and_promote, "ModelRegistry", lambda _name: registry)
    nothing = SimpleNamespace(overall=dict, model_dump_json=lambda: "{}", predictions=NO_PREDICTIONS, class_names=["cat", "dog"])
    package = SimpleNamespace(digest=lambda: "d", folder=workspace.home)
    chosen = replace(FeedbackData.none(), bias="people label what is wrong")
    verdict = GateVerdict("advance", [], registry.champion(), "compared")

    found = register_version(package, nothing, verdict, None, "r", chosen, PromotionSettings(), nothing, workspace, NO_IMAGES)

    assert found.outcome == "awaiting approval"
    assert "no fair sample: people label what is wrong" in found.reason
    assert registry.tags["verdict"] == "hold"
