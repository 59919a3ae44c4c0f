"""A feature flag chooses the predictor: the example of the documentation, with OpenFeature and flagd's file, through a real gateway."""

import re

import pytest
import requests

from imageloop.workspace_paths import PROJECT
from seldon.delivery.render_manifest import render

pytestmark = pytest.mark.xdist_group("cluster")
EXAMPLE = re.compile(r"## A feature flag chooses.*?```json\n(?P<flags>.*?)```.*?```python\n(?P<code>.*?)```", re.DOTALL)


@pytest.fixture
def example(tmp_path):
    """The names that the example defines."""
    from openfeature import api

    found = EXAMPLE.search((PROJECT / "docs" / "how-to" / "canary.md").read_text())
    assert found is not None
    file = tmp_path / "flags.json"
    file.write_text(found["flags"])
    names: dict = {}
    exec(compile(found["code"].replace('"flags.json"', repr(str(file))), "canary.md", "exec"), names)
    yield names
    api.shutdown()


def test_a_flag_chooses_the_predictor_of_a_user(example, make_cluster, predictor_spec, make_package, colours, tmp_path):
    cluster = make_cluster()
    cluster.apply(
        render("pets", "default", [predictor_spec("1", traffic=100), predictor_spec("2", make_package(), traffic=0, replicas=1)])
    )
    url = cluster.describe("default", "pets").url

    def chosen(user: str, team: str = "") -> str:
        return example["predict"](url, colours.red, user, team)["model"]["predictor"]

    by_user = {f"user-{number}": {chosen(f"user-{number}") for _ in range(2)} for number in range(40)}

    assert all(len(predictors) == 1 for predictors in by_user.values())
    assert 3 <= sum(predictors == {"v2"} for predictors in by_user.values()) <= 20  # of 40, ten are expected
    assert {chosen(user, "quality") for user in by_user} == {"v2"}

    gone = {"Content-Type": "image/jpeg", "x-imageloop-predictor": "v9"}
    assert requests.post(f"{url}/predict", colours.red, headers=gone, timeout=30).json()["model"]["predictor"] == "v1"
    cluster.stop()
