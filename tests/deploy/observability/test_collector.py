"""The configurations of the OpenTelemetry Collector: each stands on the common one, and uses nothing that neither of them defines."""

from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "deploy" / "observability" / "collector"
COMMON = yaml.safe_load((FOLDER / "common.yaml").read_text())
DESTINATIONS = sorted(file for file in FOLDER.glob("*.yaml") if file.name != "common.yaml")


@pytest.mark.parametrize("file", DESTINATIONS, ids=lambda file: file.stem)
def test_a_destination_completes_the_common_configuration(file):
    own = yaml.safe_load(file.read_text())
    used = {kind: set() for kind in ("receivers", "processors", "exporters")}

    for name, pipeline in own["service"]["pipelines"].items():
        assert name in ("traces", "logs")
        assert pipeline["processors"] == ["memory_limiter", "batch"], "in the order that the Collector's documents want"
        for kind, parts in used.items():
            parts |= set(pipeline[kind])

    assert used["receivers"] == COMMON["receivers"].keys()
    assert used["processors"] == COMMON["processors"].keys()
    assert used["exporters"] == own["exporters"].keys()
    assert own.keys() == {"exporters", "service"}
    assert not [word for word in file.read_text().split() if "secret" in word.lower()], "keys come from the environment"


def test_every_destination_that_the_documents_name_is_there():
    assert [file.stem for file in DESTINATIONS] == [
        "cloudwatch",
        "datadog",
        "elasticsearch",
        "jaeger",
        "new-relic",
        "splunk",
        "tempo-loki",
    ]
