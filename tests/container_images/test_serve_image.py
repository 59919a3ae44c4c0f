"""The serving image in a real Docker daemon, as `.ci/container-image` built it: what is in it, how it behaves, where it goes."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from imageloop.model.smoke_test_images import read_examples
from seldon.service.serving_protocols import SELDON, V2, Protocol

IMAGES = os.environ.get("IMAGELOOP_TEST_IMAGES", "").split()
pytestmark = [pytest.mark.skipif(not IMAGES, reason=".ci/container-image builds the images"), pytest.mark.xdist_group("images")]
MEGABYTE = 2**20
RESTRICTED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


def docker(*arguments: str, expect: int = 0) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    return done.stdout.strip()


def labels_of(image: str) -> dict:
    return json.loads(docker("image", "inspect", image))[0]["Config"]["Labels"]


def files_of(image: str) -> dict[str, str]:
    """Hash of each file's content and mode, by path."""
    container = docker("create", image)
    try:
        exported = subprocess.run(["docker", "export", container], capture_output=True, check=True).stdout
    finally:
        docker("rm", container)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        for member in archive:
            content = archive.extractfile(member).read() if member.isfile() else member.linkname.encode()
            found[member.name] = f"{member.mode:o} {hashlib.sha256(content).hexdigest()}"
    return found


@pytest.fixture(scope="session")
def package(tmp_path_factory) -> SimpleNamespace:
    """What the demo trained, readable for whoever runs in the container."""
    state = Path(os.environ["IMAGELOOP_TEST_PACKAGES"])
    found = max(state.rglob("signature"), key=lambda file: file.stat().st_mtime).parent
    folder = tmp_path_factory.mktemp("mounts")
    folder.chmod(0o755)
    subprocess.run(["cp", "-r", found, folder / "package"], check=True)
    subprocess.run(["cp", state / "keys" / "signing.pub", folder / "signing.pub"], check=True)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    for parent in folder.parents:
        if str(parent).startswith("/tmp/pytest"):
            parent.chmod(0o755)
    return SimpleNamespace(folder=folder / "package", key=folder / "signing.pub", examples=read_examples(folder / "package"))


@pytest.fixture
def run(package):
    started = []

    def run(
        *options: str, wait: bool = True, models: Path | None = None, image: str = "imageloop-serve", protocol: Protocol = SELDON
    ) -> SimpleNamespace:
        mounts = ["-v", f"{models or package.folder}:/mnt/models:ro", "-v", f"{package.key}:/mnt/keys/signing.pub:ro"]
        begun = time.monotonic()
        name = docker("run", "-d", "-p", "127.0.0.1:0:9000", *RESTRICTED, *mounts, *options, image)
        started.append(name)
        if not wait:
            return SimpleNamespace(name=name)
        service = SimpleNamespace(name=name, url=f"http://{docker('port', name, '9000').splitlines()[0]}")
        while call(f"{service.url}{protocol.ready_path}")[0] != 200:
            assert time.monotonic() - begun < 60, docker("logs", name)
            time.sleep(0.05)
        return service

    yield run
    for name in started:
        docker("rm", "-f", name)


def call(url: str, body: bytes | None = None, kind: str = "image/jpeg") -> tuple[int, bytes]:
    request = urllib.request.Request(url, body, {"Content-Type": kind} if body is not None else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 0, str(error).encode()


def test_two_builds_hold_the_same_files():
    one, other = files_of("imageloop-serve"), files_of("imageloop-again")

    assert {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)} == set()


def test_it_holds_what_serving_needs_and_nothing_more():
    names = files_of("imageloop-serve").keys()
    sizes = [json.loads(docker("image", "inspect", image))[0]["Size"] for image in ("imageloop-serve", "imageloop-base")]

    assert (sizes[0] - sizes[1]) / MEGABYTE < 450
    packages = {
        name.split("site-packages/")[1].split("/")[0] for name in names if "site-packages/" in name and "/app/" in f"/{name}"
    }
    assert {"onnxruntime", "seldon_core", "PIL"} <= packages
    assert not packages & {"torch", "torchvision", "zenml", "mlflow", "dvc"}
    assert not [name for name in names if name.rsplit("/", 1)[-1] in ("gcc", "cc", "uv") and "/bin/" in name]
    assert not [
        name
        for name in names
        if name.startswith("app/") and "site-packages" not in name and name.endswith((".key", ".pem", ".pub"))
    ]
    assert not [name for name in names if name.startswith("app/tests")]


def test_the_image_has_version_and_commit_labels_and_no_root_user():
    labels = labels_of("imageloop-serve")

    assert labels["org.opencontainers.image.version"] != "0.0.0"
    assert len(labels["org.opencontainers.image.revision"]) == 40
    assert docker("run", "--rm", "imageloop-serve", "id", "-u") == "10001"


def test_smoke_test_images_are_predicted_right(run, package):
    service = run()
    responses = [(example.label, call(f"{service.url}/predict", example.content, "image/png")) for example in package.examples]

    assert {code for _, (code, _) in responses} == {200}
    assert [json.loads(body)["label"] for _, (_, body) in responses] == [label for label, _ in responses]


def test_bad_images_are_refused_and_overload_gets_a_retry_after(run, package):
    service = run()
    good = package.examples[0].content

    assert call(f"{service.url}/predict", b"no image")[0] == 400
    assert call(f"{service.url}/predict", b"")[0] == 400
    assert call(f"{service.url}/predict", bytes(51 * MEGABYTE))[0] in (413, 0)
    with ThreadPoolExecutor(64) as pool:
        codes = list(pool.map(lambda _: call(f"{service.url}/predict", good, "image/png")[0], range(400)))
    assert set(codes) <= {200, 429, 503}
    assert codes.count(200) > 50
    assert call(f"{service.url}/predict", good, "image/png")[0] == 200


def test_the_container_becomes_healthy(run):
    service = run("--health-interval", "1s")
    deadline = time.monotonic() + 30

    while docker("inspect", "-f", "{{.State.Health.Status}}", service.name) != "healthy":
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_container_stops_at_once_and_restarts_after_a_kill(run, package):
    service = run("--restart", "always")
    begun = time.monotonic()
    docker("stop", "-t", "20", service.name)
    assert time.monotonic() - begun < 10

    docker("start", service.name)
    # Its process is another user's than the tests', and the first of its namespace, which ignores signals from inside.
    pid = docker("inspect", "-f", "{{.State.Pid}}", service.name)
    docker("run", "--rm", "--pid", "host", "imageloop-serve", "sh", "-c", f"kill -9 {pid}")
    deadline = time.monotonic() + 30
    while True:
        ports = subprocess.run(
            ["docker", "port", service.name, "9000"], capture_output=True, text=True, check=False
        ).stdout.split()
        if ports and call(f"http://{ports[0]}/predict", package.examples[0].content, "image/png")[0] == 200:
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_package_that_was_changed_is_not_served(run, package, tmp_path):
    changed = package.folder.with_name("changed")
    subprocess.run(["cp", "-r", package.folder, changed], check=True)
    (changed / "weights.pt").write_bytes(b"changed")

    container = run(wait=False, models=changed).name

    assert docker("wait", container) == "1"
    logs = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True).stderr
    assert "is not what was signed" in logs


@pytest.mark.skipif("IMAGELOOP_TEST_V2_IMAGE" not in os.environ, reason=".ci/container-image --all builds it")
def test_the_image_of_mlserver_gives_the_same_predictions(run, package):
    image = os.environ["IMAGELOOP_TEST_V2_IMAGE"]
    environment = [word for name, value in V2.environment("pets", "3").items() for word in ("-e", f"{name}={value}")]
    usual, v2 = run(), run(*environment, image=image, protocol=V2)
    contents = [example.content for example in package.examples]
    expected = [json.loads(call(f"{usual.url}/predict", content, "image/png")[1])["probabilities"] for content in contents]
    body = {
        "inputs": [
            {
                "name": "image", "datatype": "BYTES", "shape": [len(contents)],
                "data": [base64.b64encode(content).decode() for content in contents],
            }
        ]
    }  # fmt: skip

    code, answer = call(f"{v2.url}/v2/models/pets/infer", json.dumps(body).encode(), "application/json")

    assert code == 200, answer
    outputs = {output["name"]: output["data"] for output in json.loads(answer)["outputs"]}
    assert outputs["labels"] == [example.label for example in package.examples]
    assert outputs["probabilities"] == pytest.approx([value for one in expected for value in one.values()], abs=1e-5)
    assert docker("run", "--rm", image, "id", "-u") == "10001"
    assert labels_of(image)["org.opencontainers.image.version"] != "0.0.0"


@pytest.fixture(scope="module")
def push():
    """An image's name by its digest, once it is in the registry."""
    registry = os.environ.get("IMAGELOOP_TEST_REGISTRY")
    if registry is None:
        pytest.skip("no docker-registry here")

    def push(image: str) -> str:
        name = f"{registry}/{image}"
        docker("tag", image, f"{name}:test")
        docker("push", "-q", f"{name}:test")
        (digest,) = [one for one in json.loads(docker("image", "inspect", f"{name}:test"))[0]["RepoDigests"] if name in one]
        docker("rmi", f"{name}:test")
        return digest

    return push


def test_it_goes_to_a_registry_and_comes_back_by_its_digest(push):
    expected = docker("image", "inspect", "-f", "{{.Id}}", "imageloop-serve")
    digest = push("imageloop-serve")

    docker("pull", "-q", digest)

    assert docker("image", "inspect", "-f", "{{.Id}}", digest) == expected


@pytest.mark.skipif(shutil.which("cosign") is None, reason="no cosign here")
def test_its_signature_is_verified_and_no_other_key_or_image_passes(push, tmp_path):
    def cosign(*arguments: str, home: Path = tmp_path) -> int:
        environment = os.environ | {"COSIGN_PASSWORD": "", "HOME": str(tmp_path)}
        return subprocess.run(["cosign", *arguments], cwd=home, env=environment, capture_output=True, check=False).returncode

    def verified(image: str, home: Path = tmp_path) -> bool:
        return cosign("verify", "--insecure-ignore-tlog", "--key", "cosign.pub", image, home=home) == 0

    other = tmp_path / "other"
    other.mkdir()
    assert cosign("generate-key-pair") == cosign("generate-key-pair", home=other) == 0
    served, base = push("imageloop-serve"), push("imageloop-base")

    assert cosign("sign", "--yes", "--tlog-upload=false", "--key", "cosign.key", served) == 0

    assert verified(served)
    assert not verified(served, other)
    assert not verified(base)
