"""From a registered version to one that serves, through the front door."""

import base64
import hashlib
import io
import json
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock
from PIL import Image

from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Drift, Limits
from imageloop.data.sources.draw_animals import draw_image
from imageloop.training.feedback_data import role_of
from imageloop.training.settings import FeedbackSettings
from tests.system.conftest import SMOKE, watching

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("deployment")]
MODEL = "served"
PLACE = ("--set", f"model_name={MODEL}", "--set", "name=pets")
KEPT = watching(MODEL, "pets")
AS_USUAL = Drift()


@pytest.fixture(scope="module")
def deployed(site):
    """Version 1, served."""
    trained = site.train(MODEL)
    key = site.json("images", "key")
    kept = ("--set", f"environment.{key['variable']}={key['recipient']}")
    result = site.json("deploy", *PLACE, "--set", "replicas=1", *kept)
    yield result | {"trained": trained["model_version"], "kept": kept}
    site.run("down")


def post(url: str, content: bytes, kind: str) -> dict:
    request = urllib.request.Request(url, content, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_deploy_serves_the_champion(site, deployed):
    metadata = json.loads(urllib.request.urlopen(f"{deployed['url']}/metadata", timeout=10).read())

    assert (deployed["version"], deployed["outcome"]) == (deployed["trained"], "promoted")
    assert metadata["name"] == MODEL
    assert deployed["tried"]["label"] == deployed["tried"]["expected"]
    assert any(line.startswith("smoke-test image") for line in deployed["smoke"])


def test_status_shows_what_is_served(site, deployed):
    status = site.json("status")
    text, _ = site.run("status")

    (one,) = status["deployments"]
    assert (one["state"], one["url"], one["rollout"]) == ("Available", deployed["url"], None)
    assert [(part["version"], part["traffic"], part["ready"]) for part in one["predictors"]] == [(deployed["version"], 100, 1)]
    assert "100 %  1 of 1 ready" in text
    assert all(
        b"# HELP" in urllib.request.urlopen(address, timeout=10).read()[:2000] or "stats" in address
        for address in status["metrics"]
    )


def test_a_wrongly_predicted_image_is_retained_for_labelling(site, deployed, tmp_path):
    number, judging = next((number, drawn(number)) for number in range(100) if _judges(drawn(number)))
    teaching = next(drawn(number) for number in range(100) if not _judges(drawn(number)))
    frame = next(drawn(number, quality) for quality in range(70, 90) if not _judges(drawn(number, quality)))  # of what judges
    contents = [judging, teaching, frame, teaching, judging, teaching, frame, teaching]
    asked = [post(f"{deployed['url']}/predict", content, "image/jpeg") for content in contents]
    for answer in asked:
        ground_truth = "dog" if answer["label"] == "cat" else "cat"
        text = json.dumps({"request_id": answer["request_id"], "label": ground_truth}).encode()
        post(f"{deployed['url']}/feedback", text, "application/json")

    expected = {answer["request_id"] for answer in asked}
    assert expected <= {row["request_id"] for row in site.json("images", "list", *KEPT)["images"]}
    strange = post(f"{deployed['url']}/predict", drawn(100), "image/jpeg")["request_id"]
    post(f"{deployed['url']}/feedback", json.dumps({"request_id": strange, "label": "other"}).encode(), "application/json")
    site.run("monitor", *KEPT)  # it collects the labels
    review = site.json("labels", "list", "--to", str(tmp_path / "review"), *KEPT)
    page = (tmp_path / "review" / "labels.html").read_text()
    _, error = site.run("labels", "list", "--to", "/dev/null", *KEPT, expect=1)
    assert strange in {label["request_id"] for label in review["labels"]}
    assert review["images"] == len(review["labels"]) == page.count("<img")
    assert "expected a folder to write the page to" in error
    found = site.json("images", "export", str(tmp_path / "out"), *KEPT)
    files = list((tmp_path / "out").rglob("*.jpeg"))  # those of the smoke tests are PNG
    assert 0 < len(files) <= 4
    assert found["left"] >= 4  # those that judge the next model are not given out
    assert found["labelled"] >= len(files)
    assert {file.read_bytes() for file in files} == {teaching}
    assert {file.parent.name for file in (tmp_path / "out" / "labelled").rglob("*.jpeg")} == {ground_truth}
    assert site.json("images", "delete", *sorted(expected), *KEPT)["deleted"] == 8
    assert not expected & {row["request_id"] for row in site.json("images", "list", *KEPT)["images"]}
    _, error = site.run("images", "delete", "*", expect=1)
    assert "expected the request id of a prediction" in error


def test_the_report_of_a_monitoring_run_shows_the_most_unusual_images(site, deployed, tmp_path):
    unlike = Drift(style="outlined", darkness=0.8)
    asked = {post(f"{deployed['url']}/predict", drawn(200 + n, drift=unlike), "image/jpeg")["request_id"] for n in range(20)}
    time.sleep(0.5)  # records are written a few times a second
    monitored = site.json("monitor", *KEPT, "--set", "monitoring.drift.window=20")
    site.run("report", monitored["run"], "--to", str(tmp_path))

    page = (tmp_path / "unusual_images.html").read_text()
    shown = {request_id for request_id in asked if request_id in page}
    assert len(shown) >= 6
    assert page.count("<img") >= len(shown)
    assert all(request_id in (tmp_path / "measurement.html").read_text() for request_id in shown)


def drawn(number: int, quality: int = 95, drift: Drift = AS_USUAL) -> bytes:
    draw_image("cat", (9, number), drift).save(out := io.BytesIO(), "JPEG", quality=quality)
    return out.getvalue()


def _judges(content: bytes) -> bool:
    return role_of(hashlib.sha256(content).hexdigest(), FeedbackSettings().held_back) == "held_back"


def test_deploying_again_changes_nothing(site, deployed):
    assert site.json("deploy", *PLACE, "--set", "replicas=1", *deployed["kept"])["outcome"] == "unchanged"


def test_a_deployment_in_a_rollout_is_not_stopped(site, deployed):
    with FileLock(site.workspace.state / "serving" / "locks" / "default--pets.lock"):
        _, error = site.run("down", expect=1)

    assert "another rollout of" in error
    assert site.json("status")["deployments"][0]["state"] == "Available"


def test_a_manifest_is_printed_and_nothing_applied(site, deployed):
    image = ("--set", f"image=registry.example/serve@sha256:{'0' * 64}")

    service = yaml.safe_load(site.run("render", "--as", "kserve", *PLACE, *image)[0])
    manifest = site.json("render", *PLACE, *image)
    _, missing = site.run("render", *PLACE, expect=2)
    _, unknown = site.run("render", "--as", "helm", *PLACE, *image, expect=2)

    (uri,) = [one["value"] for one in service["spec"]["predictor"]["containers"][0]["env"] if one["name"] == "STORAGE_URI"]
    assert (service["kind"], manifest["kind"]) == ("InferenceService", "SeldonDeployment")
    assert uri == manifest["spec"]["predictors"][0]["graph"]["modelUri"]
    assert "--set image=" in missing
    assert "got 'helm'" in unknown


def test_a_local_orchestrator_refuses_schedules_and_names_the_alternative(site):
    _, laptop = site.run("schedule", "--cron", "*/15 * * * *", expect=2)
    _, wrong = site.run("schedule", "--cron", "hourly", expect=2)

    assert "python run.py watch" in laptop
    assert "got 'hourly'" in wrong


def test_zenml_lists_what_is_served(site, deployed):
    zenml = Path(sys.executable).with_name("zenml")
    command = [zenml, "model-deployer", "models", "list"]
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=True, cwd=site.home)

    shown = done.stdout + done.stderr
    assert "imageloop" in shown
    assert "roll_out" in shown


def test_the_service_predicts_what_the_command_predicts_in_every_form(site, deployed, tmp_path, request):
    """500 photographs where there are some, through the gateway; one in five also as `ndarray`, the upright, prepared image."""
    files = images(tmp_path, request)
    rows = site.json("predict", *map(str, files), "--model", MODEL)["predictions"]
    expected = {row["path"]: list(row["probabilities"].values()) for row in rows}

    def ask(place: int, file: Path) -> float:
        content = file.read_bytes()
        text, form = (
            base64.b64encode(content).decode(),
            b'--b\r\nContent-Disposition: form-data; name="binData"; filename="a"\r\n\r\n',
        )
        api, kind = f"{deployed['url']}/api/v1.0/predictions", "application/json"
        found = [
            list(post(f"{deployed['url']}/predict", content, "image/jpeg")["probabilities"].values()),
            post(api, json.dumps({"binData": text}).encode(), kind)["data"]["ndarray"][0],
            post(api, json.dumps({"jsonData": {"image": text}}).encode(), kind)["data"]["ndarray"][0],
            post(api, form + content + b"\r\n--b--\r\n", "multipart/form-data; boundary=b")["data"]["ndarray"][0],
        ]
        if place % 5 == 0:
            pixels = preprocess(content, 224, Limits()).tolist()
            found.append(post(api, json.dumps({"data": {"ndarray": pixels}}).encode(), kind)["data"]["ndarray"][0])
        return float(np.abs(np.array(found) - expected[str(file)]).max())

    with ThreadPoolExecutor(4) as pool:
        differences = list(pool.map(ask, range(len(files)), files))

    assert len(differences) == len(files)
    assert max(differences) < 1e-4


@pytest.fixture
def labelled(tmp_path):
    """Images in class folders, one of which is none."""
    for label in ("cat", "dog"):
        (tmp_path / "labelled" / label).mkdir(parents=True)
        for index in range(10):
            noise = np.random.default_rng(index).integers(0, 255, (12, 15, 3)).astype(np.uint8)
            Image.fromarray(noise).resize((300, 240)).save(tmp_path / "labelled" / label / f"{index}.jpg")
    (tmp_path / "labelled" / "cat" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "labelled"


def test_a_live_endpoint_is_held_against_labelled_images(site, deployed, labelled):
    found = site.json("evaluate", "--url", deployed["url"], "--data", str(labelled))

    assert (found["count"], found["refused"], found["failed"]) == (20, 1, 0)
    assert found["accuracy"] == 0.5  # the same images lie in both folders
    assert found["versions"] == {deployed["version"]: 20}
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]
    _, err = site.run("evaluate", "--url", deployed["url"], "--data", str(labelled), "--min-accuracy", "0.9", expect=1)
    assert "expected at least 90.0%" in err
    _, err = site.run("evaluate", "--url", "http://127.0.0.1:9", "--data", str(labelled), expect=1)
    assert "expected responses from" in err
    _, err = site.run("evaluate", "--url", "nowhere", "--data", str(labelled), expect=2)
    assert "expected an http address" in err
    (labelled / "cat").rename(labelled / "ant")
    (labelled / "dog").rename(labelled / "bee")
    _, err = site.run("evaluate", "--url", deployed["url"], "--data", str(labelled), expect=2)
    assert "expected folders with the names of the model's classes (cat, dog), got ant, bee" in err


def test_the_served_version_is_evaluated_after_a_rollout(site, deployed, labelled):
    _, err = site.run(
        "deploy",
        *PLACE,
        "--set",
        "replicas=1",
        "--set",
        f"afterwards.data={labelled}",
        "--set",
        "afterwards.min_accuracy=0.9",
        *deployed["kept"],
        expect=1,
    )

    assert "expected an accuracy of at least 90.0%" in err
    assert (
        site.json(
            "deploy",
            *PLACE,
            "--set",
            "replicas=1",
            "--set",
            f"afterwards.data={labelled}",
            "--set",
            "afterwards.min_accuracy=0.4",
            *deployed["kept"],
        )["outcome"]
        == "unchanged"
    )


def images(folder: Path, request) -> list[Path]:
    try:
        photographs = request.getfixturevalue("photographs")
    except pytest.skip.Exception:
        for index in range(20):
            out = io.BytesIO()
            noise = np.random.default_rng(index).integers(0, 255, (12, 15, 3)).astype(np.uint8)
            Image.fromarray(noise).resize((300, 240)).save(out, "JPEG")
            (folder / f"{index}.jpg").write_bytes(out.getvalue())
        return sorted(folder.glob("*.jpg"))
    return [file for label in ("cat", "dog") for file in sorted((photographs / "catsdogs" / label).glob("*.jpg"))[:250]]


def test_a_second_version_takes_over_by_canary_and_is_rolled_back_by_hand(site, deployed, tmp_path, request):
    second = site.train(MODEL, "--set", "training.seed=99", "--set", "promotion.gates.champion_margin=1")
    stop, content = threading.Event(), images(tmp_path, request)[0].read_bytes()
    failures = []

    def ask() -> None:
        while not stop.is_set():
            try:
                post(f"{deployed['url']}/predict", content, "image/jpeg")
            except OSError as error:
                failures.append(repr(error))

    callers = [threading.Thread(target=ask) for _ in range(2)]
    for caller in callers:
        caller.start()
    canary = (
        "--set",
        "strategy.kind=canary",
        "--set",
        "strategy.steps=[50]",
        "--set",
        "strategy.watch={min_requests: 30, min_seconds: 1}",
    )
    try:
        # one image over and over, and few test images: two models of chance may well differ in them
        tolerant = "judge={max_mix_distance: 1, min_agreement: 0, max_accuracy_loss: 0.9, accuracy_margin: 1}"
        result = site.json("deploy", *PLACE, *canary, "--set", "replicas=1", "--set", tolerant)
        back = site.json("rollback", "--name", "default/pets", "--reason", "it sees cats everywhere")
    finally:
        stop.set()
        for caller in callers:
            caller.join(30)

    assert (result["version"], result["before"], result["outcome"]) == (second["model_version"], deployed["version"], "promoted")
    assert [verdict.partition(":")[0] for verdict in result["verdicts"]] == ["test images", "canary 50 %"]
    assert result["verdicts"][1].startswith("canary 50 %: advance")
    assert (back["from_version"], back["to_version"]) == (second["model_version"], deployed["version"])
    assert failures == []
    listed = site.json("versions", "--model", MODEL)
    assert listed["champion"] == deployed["version"]
    assert "rolled back by hand: it sees cats everywhere" in listed["versions"][0]["reason"]
    assert [part["version"] for part in site.json("status")["deployments"][0]["predictors"]] == [deployed["version"]]


@pytest.fixture(scope="module")
def third(site, deployed) -> str:
    """Another champion, which does not serve yet."""
    return site.train(MODEL, "--set", "training.seed=123", "--set", "promotion.gates.champion_margin=1")["model_version"]


def test_a_restart_during_a_canary_resumes_the_stable_version(site, deployed, third):
    process = site.start(
        "deploy",
        *PLACE,
        "--set",
        "replicas=1",
        *deployed["kept"],
        "--set",
        "strategy={kind: canary, shadow_percent: 0, watch: {min_seconds: 600}}",
        "--set",
        "judge.max_accuracy_loss=0.9",
    )
    deadline = time.monotonic() + 120
    while not any(part["version"] == third and part["traffic"] for part in served(site)["predictors"]):
        assert time.monotonic() < deadline
    process.kill()
    process.communicate()
    stopped, _ = site.run("down", "--keep")
    text, _ = site.run("status")
    _, both = site.run("deploy", "--resume", "--version", third, expect=2)

    again = site.json("deploy", "--resume")

    assert "stopped default/pets; python run.py deploy --resume starts it again" in stopped
    assert "nothing would be started again; run: python run.py deploy --resume" in text
    assert "expected no other option" in both
    assert (again["name"], again["version"], again["outcome"]) == ("pets", deployed["version"], "unchanged")
    assert site.json("versions", "--model", MODEL)["champion"] == third
    assert (served(site)["state"], served(site)["rollout"], served(site)["url"]) == ("Available", None, deployed["url"])
    assert [(part["version"], part["traffic"]) for part in served(site)["predictors"]] == [(deployed["version"], 100)]


def served(site) -> dict:
    (one,) = site.json("status")["deployments"]
    return one


def test_a_rollout_without_requests_fails_the_command_and_the_version_keeps_its_title(site, deployed, third):
    watch = "{min_requests: 10, min_seconds: 0, max_seconds: 1}"
    no_requests = ("--set", f"strategy={{kind: canary, shadow_percent: 0, watch: {watch}}}")

    _, error = site.run("deploy", *PLACE, *no_requests, "--set", "replicas=1", "--set", "judge.max_accuracy_loss=0.9", expect=1)

    assert f"version {third} was rolled back: canary 10 %: expected 10 predictions" in error
    assert "nothing was proved against the version" in error
    assert "Traceback" not in error
    listed = site.json("versions", "--model", MODEL)
    assert (listed["champion"], listed["traffic"]) == (third, {deployed["version"]: 100})
    assert listed["versions"][0]["verdict"] == "advance"
    assert f"the champion, version {third}, has no traffic" in site.run("versions", "--model", MODEL)[0]


def test_a_version_that_fails_its_evaluation_after_the_rollout_is_rolled_back(site, deployed, third, labelled):
    evaluation = ("--set", f"afterwards.data={labelled}", "--set", "afterwards.min_accuracy=0.9")

    _, error = site.run("deploy", *PLACE, *evaluation, "--set", "replicas=1", "--set", "judge.max_accuracy_loss=0.9", expect=1)

    assert "expected an accuracy of at least 90.0%" in error
    assert f"version {third} was rolled back, and version {deployed['version']} has all traffic again" in error
    assert [part["version"] for part in served(site)["predictors"]] == [deployed["version"]]
    listed = site.json("versions", "--model", MODEL)
    assert listed["champion"] == deployed["version"]
    assert listed["versions"][0]["verdict"] == "rollback"
    assert "expected an accuracy of at least 90.0%" in listed["versions"][0]["reason"]


def test_two_models_serve_side_by_side(site, deployed, labelled):
    first, raw = served(site)["predictors"], site.home / "data" / "raw"
    before = sorted(raw.rglob("*"))
    trained = site.json("train", *SMOKE, "--model", "My_second", "--set", "data.source.seed=11")
    version = trained["model_version"]

    second = site.json("deploy", "--model", "My_second", "--set", "replicas=1")

    both = {one["name"]: one["predictors"] for one in site.json("status")["deployments"]}
    (only,) = site.json("status", "--model", "My_second")["deployments"]
    measured = site.json("evaluate", "--model", "My_second", "--data", str(labelled))
    monitored = site.json("monitor", "--model", "My_second")
    _, error = site.run("status", "--model", "nobody", expect=1)
    assert Path(trained["folder"]).is_relative_to(site.home / "data" / "sets" / "My_second")
    assert sorted(raw.rglob("*")) == before  # the images of the first model stay where they are
    assert (second["name"], second["version"]) == ("my-second", version)
    assert [part["version"] for part in both["pets"]] == [part["version"] for part in first]
    assert (only["name"], only["url"]) == ("my-second", second["url"])
    assert measured["count"] == 20
    assert monitored["action"] == "no_data"
    assert "expected a deployment 'nobody', got only: " in error


def test_models_share_processes_and_versions_serve_together(site, deployed, third, tmp_path):
    shelf = tmp_path / "shelf.yaml"
    models = {"My_second": {"warm": True}, MODEL: {"version": int(deployed["version"])}}
    shelf.write_text(yaml.safe_dump({"server": {"name": "shelf", "memory_mb": 600}, "replicas": 1, "models": models}))
    champion = site.json("versions", "--model", MODEL)["champion"]

    shared = site.json("deploy", "--config", str(shelf))["deployments"]
    together = ("--set", "graph.kind=combiner", "--set", f"graph.with_versions=[{third}]", "--set", "allow_refused_version=true")
    (combined,) = site.json("deploy", "--config", str(shelf), "--model", MODEL, *together)["deployments"]
    draw_image("cat", (9, 1), AS_USUAL).save(image := io.BytesIO(), "PNG")
    answer = post(f"{combined['url']}/predict", image.getvalue(), "image/png")
    monitored = site.json("monitor", "--model", MODEL)
    back = site.json("rollback", "--model", MODEL)
    _, error = site.run("deploy", "--config", str(shelf), "--model", "nobody", expect=2)
    _, same = site.run("deploy", "--model", MODEL, "--set", "graph={kind: router, with_versions: [1, 1]}", expect=2)

    whole = f"{deployed['version']}+{third}"
    assert [(one["name"], one["outcome"]) for one in shared] == [("my-second", "promoted"), (MODEL, "promoted")]
    assert (combined["version"], answer["model"]["version"], monitored["version"]) == (whole, whole, whole)
    assert (back["from_version"], back["to_version"]) == (whole, deployed["version"])
    assert site.json("versions", "--model", MODEL)["champion"] == champion
    assert f"expected one of the models My_second, {MODEL}, got 'nobody'" in error
    assert "expected versions that differ" in same


def test_a_wrong_setting_is_refused_before_anything_starts(site):
    _, error = site.run("deploy", "--set", "strategy.kind=canary", "--set", "strategy.steps=[50,10]", expect=2)

    assert "expected steps that grow" in error


def test_without_a_champion_there_is_nothing_to_deploy(site):
    _, error = site.run("deploy", "--set", "model_name=nobody", expect=1)

    assert "expected a champion of 'nobody' to deploy, got none" in error


def test_status_without_a_deployment_is_one_sentence(tmp_path, site):
    _, error = site.run("status", expect=1, IMAGELOOP_HOME=str(tmp_path))

    assert "nothing was ever deployed from here" in error
