"""Requests a second, p50, p99 and CPU seconds per 1,000 images: every server in one run, interleaved, with one photograph.

A ratio is taken within a round, to the bare `Predictor` just before; medians and quartiles of all rounds are printed. Each slice opens
its connections anew and ends when all its requests are answered. Servers and client are in one scheduling group.

make bench-serving        needs `ab` (Debian: apache2-utils), and what it compares us with in an environment of its own:
                          .venv-bench, made by the same target (FastAPI, MLServer, torch)
"""

import base64
import http.client
import io
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from PIL import Image

from benchmarks.benchmark_images import photographs
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.clusters.local.site_folders import free_port
from seldon.delivery.render_manifest import render, render_predictor
from seldon.service.serving_protocols import mlserver_environment

ROOT = Path(__file__).parents[1]


CLIENTS = (1, 8, 32)
ROUNDS = int(os.environ.get("ROUNDS", "15"))
SECONDS = 2
MIXED = 20_000  # images for the memory that is left
IMAGE_BYTES = 61_000
FLOOR = """
import sys, time, json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from imageloop.model.predictor import Predictor
predictor = Predictor.load(Path(sys.argv[1]), Path(sys.argv[2]), threads=1)
content, clients, seconds = Path(sys.argv[3]).read_bytes(), int(sys.argv[4]), float(sys.argv[5])
predictor.predict([content])
times, end = [], time.perf_counter() + seconds
def work(_):
    while time.perf_counter() < end:
        begun = time.perf_counter()
        predictor.predict([content])
        times.append(time.perf_counter() - begun)
begun = time.perf_counter()
with ThreadPoolExecutor(min(clients, 2)) as pool:
    list(pool.map(work, range(min(clients, 2))))
print(json.dumps([len(times) / (time.perf_counter() - begun), sorted(times)[len(times) // 2] * 1000]))
"""
EAGER = '''
import io, torch
from PIL import Image
from torchvision.transforms import v2
from imageloop.model.backbones import load_backbone
from imageloop.model.network import Classifier
class Eager:
    """The usual way: torch in eager mode, torchvision's transform, a plain predict."""
    def load(self):
        torch.set_num_threads(1)
        self.model = Classifier(load_backbone("efficientnet_lite0"), 2).eval()
        self.prepare = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])
    def predict(self, X, names, meta=None):
        image = self.prepare(Image.open(io.BytesIO(X)).convert("RGB")).permute(1, 2, 0)[None]
        with torch.inference_mode():
            return self.model(image).softmax(1).numpy()
'''
FASTAPI = """
import os
from pathlib import Path
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from imageloop.model.predictor import Predictor
app = FastAPI()
predictor = Predictor.load(Path(os.environ["PACKAGE"]), Path(os.environ["IMAGELOOP_VERIFICATION_KEY"]), threads=1)
@app.post("/predict")
async def predict(request: Request):
    answer = await run_in_threadpool(predictor.predict, [await request.body()])
    return {"label": answer.labels[0], "probabilities": answer.probabilities[0].tolist()}
@app.get("/health/status")
def status():
    return "ok"
"""


class Server:
    """One competitor: a process group, the address that images go to, and in which form."""

    def __init__(
        self, name: str, command: list[str], environment: dict[str, str], port: int, body: Path, kind: str, path: str
    ) -> None:
        self.name, self.body, self.kind = name, body, kind
        self.url = f"http://127.0.0.1:{port}{path}"
        started = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,  # no session of its own, which the kernel would give half of the processors
        )
        self.ready_seconds = wait_until_ready(self, started)

    def processes(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def stop(self) -> None:
        for process in self.processes():
            process.kill()
        self.process.wait()


class Gateway:
    """Ours behind Envoy, as `deploy` makes it."""

    def __init__(self, cluster: LocalCluster, image: Path) -> None:
        self.name, self.body, self.kind = "ours behind the gateway", image, "image/jpeg"
        self._cluster = cluster
        self.url = f"{cluster.describe('default', 'bench').url}/predict"
        self.ready_seconds = 0.0

    def processes(self) -> list[psutil.Process]:
        parent = psutil.Process(int((self._cluster._layout.folder / "supervisord.pid").read_text()))
        return [parent, *parent.children(recursive=True)]

    def stop(self) -> None:
        self._cluster.stop()


def wait_until_ready(server: Server, started: float) -> float:
    while True:
        request = urllib.request.Request(server.url, server.body.read_bytes(), {"Content-Type": server.kind})
        try:
            with urllib.request.urlopen(request, timeout=30):
                return time.perf_counter() - started
        except OSError:
            if server.process.poll() is not None or time.perf_counter() - started > 90:
                raise RuntimeError(f"{server.name} does not start") from None
            time.sleep(0.1)


def measure(server: Server | Gateway, clients: int, expected_rate: float) -> dict[str, float]:
    """One slice of some `SECONDS`: as many requests as that takes, each of them answered."""
    before, count = cpu_seconds(server), max(2 * clients, round(SECONDS * expected_rate))
    command = [
        "ab",
        "-q",
        "-k",
        "-r",
        "-l",
        "-n",
        str(count),
        "-c",
        str(clients),
        "-p",
        server.body,
        "-T",
        server.kind,
        server.url,
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    number = {name: float(re.search(pattern, text)[1]) for name, pattern in {
        "rate": r"Requests per second:\s+([\d.]+)", "p50": r"\n\s+50%\s+(\d+)", "p99": r"\n\s+99%\s+(\d+)", "count": r"Complete requests:\s+(\d+)",
    }.items()}  # fmt: skip
    refused = re.search(r"Non-2xx responses:\s+(\d+)", text)
    number["refused"] = float(refused[1]) if refused else 0.0
    number["p50"] = max(number["p50"], 0.5)
    number["cpu"] = 1000 * (cpu_seconds(server) - before) / max(1.0, number["count"])
    number["rate"] *= 1 - number["refused"] / number["count"]
    return number


def cpu_seconds(server: Server | Gateway) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in server.processes())


def memory_mb(server: Server | Gateway) -> float:
    """Proportional set size: what two workers share counts once."""
    return sum(process.memory_full_info().pss for process in server.processes()) / 2**20


def floor(package: Path, key: Path, image: Path, clients: int) -> list[float]:
    command = [serving_python(), "-c", FLOOR, package, key, image, str(clients), str(SECONDS)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    if shutil.which("ab") is None:
        sys.exit("error: expected the program `ab`, got none; apt-get install apache2-utils")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        package, key, image = trained_package(scratch)
        print(
            f"photograph of {image.stat().st_size:,} bytes, {os.cpu_count()} cores, {ROUNDS} rounds of {SECONDS} s each, medians",
            flush=True,
        )
        servers = start_all(scratch, package, key, image)
        try:
            report(servers, package, key, image)
        finally:
            for server in servers:
                server.stop()


def trained_package(scratch: Path) -> tuple[Path, Path, Path]:
    from benchmarks.training import Site

    folder, _ = photographs(scratch / "drawn")
    site = Site(scratch / "site")
    site.train(folder)
    originals = sorted((folder.parent / "catsdogs_original").rglob("*.jpg")) or sorted(folder.rglob("*.jpg"))
    image = min(originals, key=lambda file: abs(file.stat().st_size - IMAGE_BYTES))
    return site.package, site.verification_key, image


def given(package: Path, key: Path) -> dict[str, str]:
    """The environment that names the package of the service."""
    parameters = json.dumps([{"name": "model_uri", "value": str(package), "type": "STRING"}])
    return {
        "IMAGELOOP_VERIFICATION_KEY": str(key),
        "PYTHONPATH": str(ROOT),
        "PREDICTIVE_UNIT_PARAMETERS": parameters,
    }


def ports() -> dict[str, str]:
    return {"PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(free_port()), "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(free_port())}


def own(folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")}


def ours(name: str, folder: Path, package: Path, key: Path, image: Path, records: Path | None) -> Server:
    """Our launcher, with records or without."""
    environment = given(package, key) | ports() | own(folder) | ({"IMAGELOOP_RECORDS": str(records)} if records else {})
    port = int(environment["PREDICTIVE_UNIT_HTTP_SERVICE_PORT"])
    command = [str(serving_python()), "-m", "seldon.launcher"]
    return Server(name, command, environment, port, image, "image/jpeg", "/predict")


def start_all(scratch: Path, package: Path, key: Path, image: Path) -> list[Server | Gateway]:
    message = scratch / "message.json"
    message.write_text(json.dumps({"binData": base64.b64encode(image.read_bytes()).decode()}))
    cores = str(os.cpu_count())
    servers: list[Server | Gateway] = [ours("ours alone", scratch / "ours", package, key, image, scratch / "records")]
    plain = given(package, key) | ports() | own(scratch / "plain") | {"GRPC_WORKERS": "0", "GUNICORN_WORKERS": cores}
    command = [
        str(serving_python().with_name("seldon-core-microservice")),
        "seldon.microservice.ImageClassifier",
        "--service-type",
        "MODEL",
    ]
    servers.append(
        Server(
            "seldon-core's command, our class",
            command,
            plain,
            int(plain["PREDICTIVE_UNIT_HTTP_SERVICE_PORT"]),
            message,
            "application/json",
            "/api/v1.0/predictions",
        )
    )
    bench = ROOT / ".venv-bench" / "bin"
    if bench.exists():
        (scratch / "eager_model.py").write_text(EAGER)
        eager = (
            ports() | own(scratch / "eager") | {"GRPC_WORKERS": "0", "PYTHONPATH": f"{scratch}:{ROOT}", "GUNICORN_WORKERS": "1"}
        )
        command = [str(bench / "seldon-core-microservice"), "eager_model.Eager", "--service-type", "MODEL"]
        servers.append(
            Server(
                "seldon-core's command, eager torch",
                command,
                eager,
                int(eager["PREDICTIVE_UNIT_HTTP_SERVICE_PORT"]),
                message,
                "application/json",
                "/api/v1.0/predictions",
            )
        )
        (scratch / "fast.py").write_text(FASTAPI)
        port = free_port()
        fast = given(package, key) | own(scratch / "fast") | {"PYTHONPATH": f"{scratch}:{ROOT}", "PACKAGE": str(package)}
        command = [str(bench / "uvicorn"), "fast:app", "--port", str(port), "--workers", cores, "--log-level", "error"]
        servers.append(Server("FastAPI over our Predictor", command, fast, port, image, "image/jpeg", "/predict"))
    servers.append(mlserver(scratch, package, own(scratch / "mlserver") | given(package, key), image))
    cluster = LocalCluster(
        scratch / "serving", GatewaySettings(port=0), serving_python(), {"IMAGELOOP_VERIFICATION_KEY": str(key)}
    )
    predictor = render_predictor(version="1", model_name="bench", model_uri=f"file://{package}", replicas=int(cores), traffic=100)
    cluster.apply(render("bench", "default", [predictor]))
    return [*servers, Gateway(cluster, image)]


def mlserver(scratch: Path, package: Path, environment: dict[str, str], image: Path) -> Server:
    """The same package through the same `Predictor`, behind the protocol V2."""
    folder, port = scratch / "mlserver", free_port()
    folder.mkdir(exist_ok=True)
    environment |= mlserver_environment("bench", "1") | {
        "MLSERVER_HOST": "127.0.0.1", "MLSERVER_HTTP_PORT": str(port), "MLSERVER_GRPC_PORT": str(free_port()), "MLSERVER_METRICS_DIR": str(folder),
        "MLSERVER_METRICS_PORT": str(free_port()), "MLSERVER_PARALLEL_WORKERS": str(os.cpu_count()), "MLSERVER_MODEL_URI": str(package),
    }  # fmt: skip
    request = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(image.read_bytes()).decode()]}
    body = folder / "request.json"
    body.write_text(json.dumps({"inputs": [request]}))
    command = [str(ROOT / ".venv-v2" / "bin" / "mlserver"), "start", str(folder)]
    return Server("MLServer over our Predictor", command, environment, port, body, "application/json", "/v2/models/bench/infer")


def report(servers: list[Server | Gateway], package: Path, key: Path, image: Path) -> None:
    for clients in CLIENTS:
        floors, found = [], {server.name: [] for server in servers}
        rates = {server.name: measure(server, clients, 50)["rate"] for server in servers}
        for _ in range(ROUNDS):
            floors.append(floor(package, key, image, clients))
            for server in servers:
                one = measure(server, clients, rates[server.name])
                found[server.name].append(one | {"share": one["rate"] / floors[-1][0], "times": one["p50"] / floors[-1][1]})
        rate, p50 = (statistics.median(values) for values in zip(*floors, strict=True))
        print(f"\n{clients} clients\n  {'in this process (the floor)':<36} {rate:6.0f} /s {'':22} p50 {p50:6.1f} ms", flush=True)
        for name, rounds in found.items():
            middle = {figure: statistics.median(one[figure] for one in rounds) for figure in rounds[0]}
            low, _, high = statistics.quantiles((one["share"] for one in rounds), n=4)
            print(
                f"  {name:<36} {middle['rate']:6.0f} /s {middle['share']:5.2f} x ({low:.2f} to {high:.2f})  "
                f"p50 {middle['p50']:6.1f} ms {middle['times']:5.2f} x  p99 {middle['p99']:6.1f} ms  "
                f"{middle['cpu']:5.2f} CPU s per 1,000  {middle['refused']:.0f} refused",
                flush=True,
            )
    print()
    for server in servers:
        print(f"  {server.name:<36} ready after {server.ready_seconds:4.1f} s, {memory_mb(server):4.0f} MB" if server.ready_seconds else
              f"  {server.name:<36} {memory_mb(server):4.0f} MB")  # fmt: skip
    raw = [server for server in servers if server.kind == "image/jpeg"]
    images = in_many_sizes(image)
    for server in raw:
        send_each(server, images)
        print(f"  {server.name:<36} {memory_mb(server):4.0f} MB after {MIXED:,} images of {len(images)} sizes", flush=True)


def in_many_sizes(image: Path) -> list[bytes]:
    """The photograph with sides of a tenth to four times its own."""
    photograph, files = Image.open(image).convert("RGB"), []
    for factor in (0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 3, 4):
        out = io.BytesIO()
        photograph.resize((round(photograph.width * factor), round(photograph.height * factor))).save(out, "JPEG", quality=85)
        files.append(out.getvalue())
    return files


def send_each(server: Server | Gateway, images: list[bytes]) -> None:
    """Send `MIXED` images by eight clients, in an order drawn by chance."""

    def ask(client: int) -> None:
        order, place = random.Random(client), urlsplit(server.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port)
        for _ in range(MIXED // 8):
            connection.request("POST", place.path, order.choice(images), {"Content-Type": server.kind})
            connection.getresponse().read()
        connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))


if __name__ == "__main__":
    main()
