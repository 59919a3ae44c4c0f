"""The next command for a user whose model has no champion."""

from types import SimpleNamespace

import pytest

from imageloop.lifecycle.choose_version import _way_to_a_champion


@pytest.mark.parametrize(
    ("newest_first", "advice"),
    [
        ([], "train a model first: python run.py train --model pets; these have versions: cars, pots"),
        ([("2", "hold"), ("1", "rollback")], "version 2 awaits approval: python run.py approve 2 --model pets"),
        (
            [("2", "rollback"), ("1", "hold")],
            "no version may serve; the reasons: python run.py versions --model pets; to overrule that of the newest: "
            "python run.py approve 2 --model pets --reason TEXT",
        ),
    ],
)
def test_the_newest_version_decides_the_next_command(newest_first, advice):
    versions = [SimpleNamespace(version=version, verdict=verdict) for version, verdict in newest_first]
    registry = SimpleNamespace(versions=lambda: versions, model_names=lambda: ["cars", "pots"])

    assert _way_to_a_champion(registry, "pets") == advice
