"""What explains: every setting, the reports of a run as files, the versions at a glance."""

import json
from pathlib import Path

import pytest
from PIL import Image

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("prediction")]
MODEL = "explained"


@pytest.fixture(scope="module")
def trained(site) -> dict:
    return site.train(MODEL)


def test_the_reports_of_a_run_are_files_with_an_index(site, trained, tmp_path):
    written = site.json("report", trained["run"], "--to", str(tmp_path / "reports"))

    index = Path(written["files"][0])
    assert index.name == "index.html"
    names = {Path(file).name for file in written["files"]}
    assert {"catalog.html", "evaluation.html", "verdict.html", "label_issues.html", "trained_model.png"} <= names
    assert all(f'href="{name}"' in index.read_text() for name in names - {"index.html"})
    assert "The worst mistakes" in (tmp_path / "reports" / "evaluation.html").read_text()


def test_after_a_training_that_failed_the_newest_with_reports_is_shown(site, trained, tmp_path):
    few = tmp_path / "few"
    for label in ("cat", "dog"):
        (few / label).mkdir(parents=True)
        Image.effect_noise((80, 80), 60).save(few / label / "1.png")
    site.run("train", "--data", str(few), "--model", MODEL, expect=1)

    out, err = site.run("report", "--model", MODEL, "--to", str(tmp_path / "reports"))

    assert out.splitlines()[0] == f"{trained['run']} (completed)"
    assert f"(failed) has no reports; these are of '{trained['run']}'" in err


def test_a_run_that_does_not_exist_is_refused_with_the_newest(site, trained):
    _, err = site.run("report", "no-such-run", expect=1)

    assert f"got 'no-such-run'; the newest are: {trained['run']}" in err


def test_without_a_name_it_is_the_newest_training_of_the_model(site, trained, tmp_path):
    written = site.json("report", "--model", MODEL, "--to", str(tmp_path / "reports"))
    _, err = site.run("report", "--model", "unknown", expect=1)

    assert (written["run"], written["status"]) == (trained["run"], "completed")
    assert "expected a training of model 'unknown', got none yet; run: python run.py train --model unknown" in err


def test_versions_show_accuracy_with_interval_date_model_and_data(site, trained):
    listed = site.json("versions", "--model", MODEL)
    out, _ = site.run("versions", "--model", MODEL)

    (version,) = listed["versions"]
    assert listed["statuses"] == {version["version"]: "champion"}
    assert version["accuracy"] == pytest.approx(trained["accuracy"], abs=1e-4)
    assert version["interval"][0] < version["accuracy"] < version["interval"][1] or version["accuracy"] in version["interval"]
    assert (version["backbone"], version["data"]) == ("efficientnet_lite0", "generated")
    assert version["made_at"][:10] in out


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("training.model.fine_tune_blocks",), ["training.model.fine_tune_blocks"]),
        (("--of", "deploy", "strategy.kind"), ["strategy.kind"]),
        (("ImageNet",), None),
    ],
)
def test_settings_are_listed_by_prefix_and_by_word(site, asked, found):
    if found is None:
        _, err = site.run("settings", *asked, expect=2)
        assert "expected a setting or a word of one, got 'ImageNet'" in err
        return
    listed = json.loads(site.run("settings", *asked, "--json")[0])["settings"]

    assert [one["key"] for one in listed] == found
    assert all(one["type"] for one in listed)
