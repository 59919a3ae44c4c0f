"""`zenml stack set kubernetes`, then the same commands: each step in a pod, which the orchestrator's own entry point makes.

The API server checks schemas, roles and pod security; the pods are processes with the pod's environment, volumes, user and root.
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pandas as pd
import pytest
import requests
import yaml

from imageloop.data.settings import Drift
from imageloop.data.sources.draw_animals import draw_image
from imageloop.model.signing import private_key
from imageloop.records.store.database import Database
from operations.training import STEP_NAMES
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.clusters.local.site_folders import free_port
from tests import servers
from tests.fakes.kubernetes.api_server import FakeApiServer, running
from tests.fakes.kubernetes.authority import certify
from tests.fakes.kubernetes.kubelet import ACCOUNT, Kubelet
from tests.fakes.kubernetes.operator import Operator
from tests.fakes.kubernetes.resources import pod_of
from tests.system.conftest import SMOKE, Site, new_site, package_hashes
from tests.system.two_lines import two_lines

pytestmark = [
    pytest.mark.system,
    pytest.mark.acceptance,
    pytest.mark.sandbox,
    pytest.mark.xdist_group("pods"),
    pytest.mark.timeout(1500),
]
PROJECT = Path(__file__).parents[2]
SERVE_IMAGE = f"registry.example/imageloop-serve@sha256:{'0' * 64}"
IMAGE = f"registry.example/imageloop-pipeline@sha256:{'0' * 64}"
NAMESPACE = "imageloop"
MODEL = "pods"
TRAINED = ("--set", f"promotion.model_name={MODEL}")
PLACE = (
    "--set",
    "replicas=1",
    "--set",
    f"model_name={MODEL}",
)
WATCHED = (
    "--set", f"monitoring.model_name={MODEL}", "--set", f"training.promotion.model_name={MODEL}", "--set", f"rollout.model_name={MODEL}",
)  # fmt: skip
SHARED = "s3://imageloop/cluster"  # nobody else's memory of splits

(ROLE,) = (
    one
    for one in yaml.safe_load_all((PROJECT / "deploy" / "kubernetes" / "base" / "accounts.yaml").read_text())
    if one["kind"] == "Role"
)
RULES = {"of-the-user": None, "of-a-pod": (NAMESPACE, ROLE["rules"])}


@dataclass(frozen=True)
class Cluster:
    """The site of a team whose pipelines run in pods."""

    site: Site
    server: FakeApiServer
    kubelet: Kubelet

    def pods(self, step: str = "") -> list[dict]:
        found = [one for one in self.server.core.made if one["kind"] == "Pod"]
        return [one for one in found if one["metadata"]["labels"].get("step_name", "") == step]


@pytest.fixture(scope="module")
def cluster(site, tmp_path_factory, zenml, mlflow, postgresql, s3, sharing):
    root = tmp_path_factory.mktemp("cluster")
    (root / "home").mkdir()
    url, _ = zenml
    shared = sharing | {
        "IMAGELOOP_SHARED": SHARED,
        "IMAGELOOP_MLFLOW_ARTIFACTS": servers.ARTIFACTS,
        "IMAGELOOP_DATABASE": servers.create_database(postgresql, "cluster"),
    }
    gateway_port = free_port()
    environment = site.environment | shared | {
        "IMAGELOOP_HOME": str(root / "home"), "ZENML_CONFIG_PATH": str(root / "zenml"), "ZENML_REPOSITORY_PATH": str(root / "repository"),
        "ZENML_STORE_URL": url, "ZENML_STORE_USERNAME": "admin", "ZENML_STORE_PASSWORD": servers.PASSWORD,
        "IMAGELOOP_MLFLOW_URI": mlflow, "IMAGELOOP_MLFLOW_USER": "admin", "IMAGELOOP_MLFLOW_PASSWORD": servers.PASSWORD,
        "IMAGELOOP_S3_URL": s3, "IMAGELOOP_GATEWAY_URL": f"http://127.0.0.1:{gateway_port}", "KUBECONFIG": str(root / "kubeconfig"),
        "IMAGELOOP_REGISTRY": "registry.example/imageloop", "IMAGELOOP_PIPELINE_IMAGE": IMAGE, "IMAGELOOP_SERVING_IMAGE": SERVE_IMAGE, "SSL_CERT_FILE": str(root / "ca.crt"),
    }  # fmt: skip
    user = Site(root / "home", environment)
    private_key(user.workspace.keys)
    tls, trusted = certify(root)
    with operated(root, user, shared, gateway_port) as operator, running(operator, tls=tls, rules=RULES) as server:
        kubelet = Kubelet(server.core, root / "pods", server.url, trusted, {"imageloop": "of-a-pod"})
        (root / "kubeconfig").write_text(kubeconfig(server.url, trusted))
        user.run("--activate", "kubernetes", str(stack_file(root, server.url)), program="stacks/apply.py")
        make_secrets(server, user, shared | {"SSL_CERT_FILE": f"{ACCOUNT}/ca.crt"})
        yield Cluster(user, server, kubelet)
        kubelet.stop()


@contextlib.contextmanager
def operated(root: Path, user: Site, shared: dict[str, str], port: int) -> Iterator[Operator]:
    """What Seldon's operator, its storage initializer and the collectors in the pods would do, on this machine."""
    keys = {"key": shared["AWS_ACCESS_KEY_ID"], "secret": shared["AWS_SECRET_ACCESS_KEY"]}
    bucket = fsspec.filesystem("s3", endpoint_url=shared["AWS_ENDPOINT_URL_S3"], skip_instance_cache=True, **keys)

    def fetch(address: str) -> str:
        folder = root / "models" / address.rpartition("/")[2]
        if address.startswith("s3://") and not folder.exists():
            bucket.get(address, str(folder), recursive=True)
        return f"file://{folder}" if address.startswith("s3://") else address

    verification = {"IMAGELOOP_VERIFICATION_KEY": str(user.workspace.keys / "signing.pub")}
    local = LocalCluster(root / "serving", GatewaySettings(port=port), serving_python(), verification)
    database = Database(shared["IMAGELOOP_DATABASE"])
    operator = Operator(local, database, fetch)
    yield operator
    operator.stop()
    database.close()
    local.stop()


def stack_file(root: Path, url: str) -> Path:
    """The project's own, with what a site of this kind adds to the deployer."""
    values = yaml.safe_load((PROJECT / "stacks" / "kubernetes.yaml").read_text())
    own = {"predictor_url": f"{url}/call/{{namespace}}/{{name}}/{{predictor}}", "pods": {"database_secret": "records"}}
    values["components"]["model_deployer"]["config"]["cluster"] |= own
    file = root / "kubernetes.yaml"
    file.write_text(yaml.safe_dump(values, default_style='"'))
    return file


def kubeconfig(url: str, trusted: Path) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": url, "certificate-authority": str(trusted)}}],
            "users": [{"name": "user", "user": {"token": "of-the-user"}}],
            "contexts": [{"name": "imageloop", "context": {"cluster": "here", "user": "user"}}],
            "current-context": "imageloop",
        }
    )


def make_secrets(server: FakeApiServer, user: Site, environment: dict[str, str]) -> None:
    """What docs/how-to/kubernetes.md says to create."""
    keys = {name: (user.workspace.keys / name).read_bytes() for name in ("signing.key", "signing.pub")}
    for name, values in (
        ("imageloop-signing", keys),
        ("imageloop-pipeline", {key: value.encode() for key, value in environment.items()}),
    ):
        data = {key: base64.b64encode(value).decode() for key, value in values.items()}
        server.core.create("secrets", NAMESPACE, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def images(sharing, tmp_path_factory) -> Iterator[tuple[str, ...]]:
    """A team's images as any machine finds them: pointers in Git, the files in a bucket."""
    root = tmp_path_factory.mktemp("git")
    for label in ("cat", "dog"):
        (root / "images" / "data" / "raw" / label).mkdir(parents=True)
        for number in range(30):
            draw_image(label, (7, number), Drift()).save(root / "images" / "data" / "raw" / label / f"{number}.png")
    dvc, identity = Path(sys.executable).parent / "dvc", ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (
        ["git", "init", "-q"], [dvc, "init", "-q"], [dvc, "remote", "add", "-d", "bucket", "s3://imageloop/images"], [dvc, "add", "-q", "data/raw"],
        ["git", "add", "."], ["git", *identity, "commit", "-qm", "Images"], [dvc, "push", "-q"],
    ):  # fmt: skip
        subprocess.run(
            command,
            cwd=root / "images",
            env=os.environ | sharing | {"DVC_NO_ANALYTICS": "true"},
            check=True,
            capture_output=True,
        )
    with servers.git(root) as url:
        settings = yaml.safe_load(Path(SMOKE[1]).read_text())
        settings["data"]["source"] = {"kind": "dvc", "repository": f"{url}/images"}
        (root / "train.yaml").write_text(yaml.safe_dump(settings))
        yield "--config", str(root / "train.yaml")


@pytest.fixture(scope="module")
def trained(cluster, images) -> dict:
    return cluster.site.json("train", *images, *TRAINED, timeout_seconds=1200)


def test_a_training_in_pods_makes_the_model_of_a_laptop(cluster, trained, images, sharing, tmp_path):
    fresh = new_site(tmp_path)
    keys = {name: value for name, value in sharing.items() if name.startswith("AWS")}
    laptop = Site(fresh.home, fresh.environment | keys)
    laptop.json("train", *images, *TRAINED)

    assert (trained["outcome"], trained["stack"]) == ("champion", "kubernetes")
    assert package_hashes(cluster.site, MODEL) == package_hashes(laptop, MODEL)


def test_each_step_ran_in_a_pod_that_the_stack_file_describes(cluster, trained):
    expected = yaml.safe_load((PROJECT / "stacks" / "kubernetes.yaml").read_text())["components"]["orchestrator"]["config"]

    for step in set(STEP_NAMES) - {"search"}:  # which only the tuning pipeline has
        (pod,) = cluster.pods(step)
        (container,) = pod["spec"]["containers"]
        assert container["image"] == IMAGE
        assert container["resources"] == expected["pod_settings"]["resources"]
        assert pod["spec"]["nodeSelector"] == expected["pod_settings"]["node_selectors"]
        assert pod["spec"]["serviceAccountName"] == "imageloop"
        assert {volume["name"] for volume in pod["spec"]["volumes"]} == {"scratch", "keys"}
        assert container["envFrom"] == [{"secretRef": {"name": "imageloop-pipeline"}}]
        assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "pipeline"  # by which network policies know it


def test_no_token_is_left_behind_and_none_is_in_a_pods_own_words(cluster, trained):
    left = [one["metadata"]["name"] for one in cluster.server.core.of_kind("secrets")]
    tokens = [
        variable
        for one in cluster.server.core.made
        if one["kind"] in ("Job", "Pod")
        for variable in pod_of(one)["containers"][0]["env"]
        if variable["name"] == "ZENML_STORE_API_TOKEN"
    ]

    assert sorted(left) == ["imageloop-pipeline", "imageloop-signing"]
    assert tokens
    assert all("value" not in variable for variable in tokens)


def test_the_data_of_a_run_in_pods_is_restored_byte_for_byte(cluster, trained, tmp_path):
    cluster.site.run("restore", trained["tracking_run"], "--to", str(tmp_path / "back"))

    draw_image("dog", (7, 4), Drift()).save(tmp_path / "dog.png")
    assert next((tmp_path / "back").rglob("dog/4.png")).read_bytes() == (tmp_path / "dog.png").read_bytes()
    assert len(list((tmp_path / "back").rglob("*.png"))) == 60


@pytest.fixture(scope="module")
def deployed(cluster, trained) -> dict:
    return cluster.site.json("deploy", *PLACE)


def test_a_rollout_from_a_pod_serves_what_pods_trained(deployed, tmp_path):
    draw_image("cat", (7, 1), Drift()).save(tmp_path / "cat.png")

    answer = requests.post(f"{deployed['url']}/predict", (tmp_path / "cat.png").read_bytes(), headers={"Content-Type": "image/png"}, timeout=30)  # fmt: skip

    assert (deployed["stack"], deployed["version"]) == ("kubernetes", "1")
    assert answer.status_code == 200
    assert answer.json()["model"]["version"] == "1"


def test_a_schedule_monitors_in_pods(cluster, deployed):
    cluster.site.run("schedule", "--cron", "*/15 * * * *", *WATCHED)
    made = cluster.site.json("schedule", "--cron", "*/10 * * * *", *WATCHED)  # in place of the first
    (cronjob,) = cluster.server.core.of_kind("cronjobs")

    cluster.kubelet.trigger(cronjob["metadata"]["name"])
    wait_until(lambda: ended(cluster.pods("run_monitoring")), seconds=240)
    removed = cluster.site.json("schedule", "--remove", *WATCHED)

    assert (cronjob["spec"]["schedule"], cronjob["spec"]["concurrencyPolicy"]) == ("*/10 * * * *", "Forbid")
    assert made["replaced"]
    assert [pod["status"]["phase"] for step in ("run_monitoring", "collect", "measure", "decide") for pod in cluster.pods(step)] == ["Succeeded"] * 4, cluster.kubelet.logs()[-9000:]  # fmt: skip
    assert removed["removed"]
    assert cluster.server.core.of_kind("cronjobs") == []
    (config_map,) = cluster.server.core.of_kind("configmaps")
    status = json.loads(config_map["data"]["status.json"])  # which pods mount, for the page of operations
    assert (status["model"], status["action"], status["deployment"].rpartition("/")[2]) == (MODEL, "no_data", deployed["name"])


def test_a_scheduled_batch_prediction_runs_in_pods(cluster, trained, s3, sharing, tmp_path):
    keys = {"key": sharing["AWS_ACCESS_KEY_ID"], "secret": sharing["AWS_SECRET_ACCESS_KEY"]}
    bucket = fsspec.filesystem("s3", endpoint_url=s3, skip_instance_cache=True, **keys)
    for number in range(4):
        draw_image("cat", (8, number), Drift()).save(tmp_path / f"{number}.png")
        bucket.put(str(tmp_path / f"{number}.png"), f"imageloop/incoming/{datetime.now(UTC):%Y-%m-%d}/{number}.png")
    given = ("--pipeline", "s3://imageloop/incoming/{date}", "--model", MODEL, "--to", "s3://imageloop/bulk/{date}")
    site = Site(cluster.site.home, cluster.site.environment | sharing)

    made = site.json("predict", *given, "--cron", "0 3 * * *")
    (cronjob,) = cluster.server.core.of_kind("cronjobs")
    cluster.kubelet.trigger(cronjob["metadata"]["name"])
    wait_until(lambda: ended(cluster.pods("summarize")), seconds=240)
    removed = site.json("predict", *given, "--remove-schedule")

    assert (cronjob["spec"]["schedule"], made["replaced"], removed["removed"]) == ("0 3 * * *", False, True)
    assert [pod["status"]["phase"] for step in ("list_images", "predict_images", "summarize") for pod in cluster.pods(step)] == ["Succeeded"] * 3, cluster.kubelet.logs()[-9000:]  # fmt: skip
    (part,) = bucket.glob("imageloop/bulk/*/part-*.parquet")
    assert pd.read_parquet(bucket.open(part))["label"].notna().sum() == 4


def ended(pods: list[dict]) -> bool:
    return bool(pods) and all(pod["status"].get("phase") in ("Succeeded", "Failed") for pod in pods)


@pytest.mark.parametrize("ill", ["OOMKilled", "ImagePullBackOff"])
def test_a_pod_that_dies_or_never_starts_is_one_sentence(cluster, trained, ill):
    cluster.kubelet.ills["collect"] = [ill]

    _, err = cluster.site.run("monitor", *WATCHED, expect=1)

    assert "step 'collect'" in err
    assert "kubectl get pods -l run_id=" in err
    assert "Traceback" not in err


def test_an_evicted_pod_is_replaced(cluster, trained):
    cluster.kubelet.ills["collect"] = ["Evicted"]
    before = len(cluster.pods("collect"))

    cluster.site.json("monitor", *WATCHED)

    assert len(cluster.pods("collect")) == before + 2


def test_an_api_server_that_vanishes_is_one_sentence(cluster, trained):
    process = cluster.site.start("monitor", *WATCHED)
    orchestrators = len(cluster.pods())  # those before
    wait_until(lambda: len(cluster.pods()) > orchestrators)
    cluster.server.fault = (503, "etcd has no leader")
    _, err = process.communicate(timeout=120)
    cluster.server.mend()

    assert process.returncode == 1
    assert "etcd has no leader" in err
    assert "Traceback" not in err


def test_the_same_two_lines_train_and_serve_on_a_cluster(cluster, tmp_path):
    """As on the stacks local and compose: tests/system/test_remote_servers.py."""
    two_lines(cluster.site, "kubernetes", "", tmp_path)
