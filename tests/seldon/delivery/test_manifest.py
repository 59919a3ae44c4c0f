import json

import jsonschema
import pytest

from seldon.delivery.manifest import Manifest, OngoingRollout, dump
from seldon.delivery.render_manifest import render


def test_the_rendered_manifest_is_valid_for_the_operator(predictor_spec, crd):
    manifest = render("pets", "site", [predictor_spec("1", traffic=90, environment={"A": "b"}), predictor_spec("2", traffic=10)])
    shadowed = manifest.with_predictors(
        [predictor_spec("1"), predictor_spec("2", shadow=True)], OngoingRollout(from_predictor="v1", to_predictor="v2")
    )

    for one in (manifest, shadowed.with_history([predictor_spec("1")])):
        jsonschema.validate(dump(one), crd)


def test_a_manifest_reads_as_it_was_written(predictor_spec):
    manifest = render("pets", "site", [predictor_spec("1")]).with_history([predictor_spec("1"), predictor_spec("2")])

    again = Manifest.model_validate(json.loads(json.dumps(dump(manifest))))

    assert again == manifest
    assert [part.version for part in again.history] == ["1", "2"]


def test_unknown_fields_are_preserved_and_named(predictor_spec):
    value = dump(render("pets", "site", [predictor_spec("1")]))
    value["spec"]["predictors"][0]["svcOrchSpec"] = {"env": []}
    value["spec"]["serverType"] = "rpc"

    manifest = Manifest.model_validate(value)

    assert manifest.others() == ["spec.serverType", "spec.predictors.svcOrchSpec"]
    assert dump(manifest) == value


@pytest.mark.parametrize(
    ("weights", "words"),
    [((50, 40), "adds up to 100"), ((100, 100), "adds up to 100"), ((None,), "less than or equal")],
)
def test_weights_that_make_no_sense_are_refused(predictor_spec, weights, words):
    with pytest.raises(ValueError, match=words):
        render(
            "pets",
            "site",
            [predictor_spec(str(n), traffic=101 if weight is None else weight) for n, weight in enumerate(weights)],
        )


def test_two_predictors_of_one_name_are_refused(predictor_spec):
    with pytest.raises(ValueError, match="names of their own"):
        render("pets", "site", [predictor_spec("1", traffic=50), predictor_spec("1", traffic=50)])
