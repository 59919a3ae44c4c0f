"""What many models in one process take, beside one process for each: memory, and the time of a first request.

make bench-models
"""

import contextlib
import json
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import psutil

from benchmarks.serving import trained_package
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.delivery.clusters.local.http_checks import get
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.clusters.local.site_folders import SITE_VARIABLE
from seldon.delivery.model_server_settings import ServerSettings, shared
from seldon.delivery.render_manifest import render, render_predictor

NUM_MODELS = 10
IN_MEMORY = 4  # models that the budget of the second server has room for
ROUNDS = 5
LOADING_MS = 150.0  # a request that takes longer has loaded its model


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        package, key, image = trained_package(scratch)
        packages = [shutil.copytree(package, scratch / f"package-{number}") for number in range(NUM_MODELS)]
        content = Path(image).read_bytes()
        alone = _measure(scratch / "alone", packages, key, content, None)
        whole = _measure(scratch / "whole", packages, key, content, ServerSettings(name="shelf", memory_mb=8000))
        each = (whole["mb"] - whole["empty"]) / NUM_MODELS
        budget = int(whole["empty"] + IN_MEMORY * each + 40)
        small = _measure(scratch / "small", packages, key, content, ServerSettings(name="shelf", memory_mb=budget))
    print(
        f"{NUM_MODELS} models of EfficientNet-Lite0 at 224 pixels, one replica each, after {ROUNDS} rounds of requests to all of them"
    )
    print(f"a process for each: {alone['mb']:.0f} MB")
    print(
        f"one process: {whole['mb']:.0f} MB, {whole['mb'] / alone['mb']:.2f} times as much; {each:.0f} MB a model, {whole['empty']:.0f} before the first"
    )
    print(
        f"one process of {budget} MB: {small['peak']:.0f} MB at the peak, {small['mb'] / alone['mb']:.2f} times as much; "
        f"a request that loads its model {small['slow']:.0f} ms, {small['slow'] / whole['fast']:.0f} times one whose model is loaded ({whole['fast']:.1f} ms)"
    )


def _measure(folder: Path, packages: list[Path], key: Path, content: bytes, server: ServerSettings | None) -> dict[str, float]:
    """Deploy all packages, and send requests to them in turns, which is the worst order for what is unloaded. Units: MB and milliseconds."""
    cluster = LocalCluster(folder, GatewaySettings(port=0), serving_python(), {"IMAGELOOP_VERIFICATION_KEY": str(key)})
    try:
        urls = []
        for number, package in enumerate(packages):
            name = f"model-{number}"
            predictor = render_predictor(version="1", model_name=name, model_uri=f"file://{package}", replicas=1, traffic=100)
            cluster.apply(render(name, "default", [shared(predictor, server)]))
            found = cluster.describe("default", name)
            urls.append(found.url if found else "")
        states = [state for address in cluster.metrics_addresses() if (state := _state(address)) is not None]
        empty = sum(state["resident_mb"] - sum(model["mb"] for model in state["models"] if model["loaded"]) for state in states)
        peak, milliseconds = 0.0, []
        for _ in range(ROUNDS):
            for url in urls:
                milliseconds.append(_request(url, content))
                peak = max(peak, _memory(cluster))
        slow = [one for one in milliseconds if one > LOADING_MS]
        fast = [one for one in milliseconds if one <= LOADING_MS]
        return {
            "mb": _memory(cluster), "peak": peak, "empty": empty, "fast": median(fast or [0.0]), "slow": median(slow or [0.0]),
        }  # fmt: skip
    finally:
        cluster.stop()


def _state(address: str) -> dict[str, Any] | None:
    """What a process of several models says of itself; None at the address of another one."""
    text = get(int(urlsplit(address).port or 0), "/models")
    return None if text is None or "resident_mb" not in text else json.loads(text)


def _request(url: str, content: bytes) -> float:
    begun = time.perf_counter()
    request = urllib.request.Request(f"{url}/predict", content, {"Content-Type": "image/jpeg"})
    with urllib.request.urlopen(request, timeout=60) as response:
        response.read()
    return 1000 * (time.perf_counter() - begun)


def _memory(cluster: LocalCluster) -> float:
    """The memory of all that serves, in MB; pages that processes share are counted once (PSS)."""
    site, found = str(cluster.logs().parent), 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            command = " ".join(process.cmdline())
            serves = "seldon.launcher" in command or "seldon.model_server" in command
            if serves and process.environ().get(SITE_VARIABLE) == site:
                found += process.memory_full_info().pss
    return found / 2**20


if __name__ == "__main__":
    main()
