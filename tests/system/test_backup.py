"""Backup of a site, restored to another path."""

import json
import tarfile
from dataclasses import replace

import pytest

pytestmark = pytest.mark.system


@pytest.fixture
def elsewhere(site, tmp_path):
    """An empty site on another path, without the private key."""
    home = tmp_path / "another" / "home"
    home.mkdir(parents=True)
    changed = {
        "IMAGELOOP_HOME": str(home),
        "ZENML_CONFIG_PATH": str(tmp_path / "another" / "zenml"),
        "ZENML_REPOSITORY_PATH": str(tmp_path / "another"),
    }
    other = replace(site, home=home, environment=site.environment | changed)
    other.run("--activate", "local", program="stacks/apply.py")
    return other


@pytest.mark.acceptance
def test_a_site_is_as_before_after_a_backup_and_a_recovery_elsewhere(site, elsewhere, draw, tmp_path):
    images = draw(tmp_path / "images", cat=20, dog=20)
    trained = site.train("kept", "--data", str(images))
    archive = tmp_path / "kept.tar.gz"
    uncollected = ".imageloop/serving/records/default/kept/records-1-2-3.jsonl"
    (site.home / uncollected).parent.mkdir(parents=True, exist_ok=True)
    (site.home / uncollected).write_text("a line\n")

    made = site.json("backup", str(archive))
    with tarfile.open(archive) as content:
        names = content.getnames()
    before = site.json("predict", str(images / "cat"), "--model", "kept")
    recovered = elsewhere.json("restore-backup", str(archive))
    site_home_hidden = str(site.home)
    after = elsewhere.json("predict", str(images / "cat"), "--model", "kept")

    assert made["size_bytes"] == archive.stat().st_size
    assert not any("signing.key" in name for name in names)
    assert any(name.endswith("keys/signing.pub") for name in names)
    assert (elsewhere.home / uncollected).read_text() == "a line\n"
    assert recovered["home"] == str(elsewhere.home)
    assert after["predictions"] == before["predictions"]
    assert after["model_version"] == trained["model_version"]
    assert elsewhere.json("versions", "--model", "kept") == site.json("versions", "--model", "kept")
    lineage = _lineage(elsewhere, trained["run"])
    assert lineage == _lineage(site, trained["run"])
    assert all(site_home_hidden not in uri for uri in lineage["uris"])
    _, err = elsewhere.run("restore-backup", str(archive), expect=2)
    assert "expected an empty site" in err
    _, err = elsewhere.run(
        "train", "--data", str(images), "--set", "promotion.model_name=kept", "--set", "training.seed=3", expect=1
    )
    assert "got the public one alone" in err


def test_a_file_that_is_no_archive_is_refused_and_changes_nothing(elsewhere, tmp_path):
    (tmp_path / "no.tar.gz").write_bytes(b"no archive")

    before = sorted(path.name for path in (elsewhere.home / ".imageloop").iterdir())
    _, err = elsewhere.run("restore-backup", str(tmp_path / "no.tar.gz"), expect=2)

    assert "is no archive" in err
    assert sorted({*before, "logs"}) == sorted(path.name for path in (elsewhere.home / ".imageloop").iterdir())


def _lineage(site, run: str) -> dict:
    """Every artifact of a run that can be loaded, by ZenML's own client on that site; addresses relative to it."""
    code = (
        "import json, sys\n"
        "from zenml.client import Client\n"
        "steps = Client().get_pipeline_run(sys.argv[1]).steps\n"
        "found = {name: sorted(step.outputs) for name, step in steps.items()}\n"
        "uris = [output.uri.replace(sys.argv[2], '') for step in steps.values() for outputs in step.outputs.values() for output in outputs]\n"
        "loaded = steps['register'].outputs['registration'][0].load()\n"
        "print(json.dumps({'steps': found, 'uris': sorted(uris), 'version': loaded.version}))"
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code, run, str(site.home)],
        env=site.environment,
        cwd=site.environment["ZENML_CUSTOM_SOURCE_ROOT"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
