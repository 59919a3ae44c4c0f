"""A load that comes and goes, and the replicas that follow it: a line every few seconds.

make bench-autoscaling      a site of its own; two minutes
"""

import tempfile
import threading
import time
from pathlib import Path

from benchmarks.benchmark_images import photographs
from benchmarks.local_serving import local_cluster
from benchmarks.served_rollouts import Clients
from benchmarks.training import Site
from seldon.delivery.clusters.local.autoscaling import SAMPLE_SECONDS, Autoscaler
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.manifest import scaled_between
from seldon.delivery.render_manifest import render_predictor
from seldon.delivery.rollouts.rollout_runner import roll_out
from seldon.delivery.rollouts.settings import DeploySettings

LOADS = ((1, 10), (16, 30), (1, 80))  # clients, and for how many seconds
SETTINGS = DeploySettings(name="pets", model_name="pets", replicas=1, max_replicas=3)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder, kind = photographs(scratch / "drawn")
        site = Site(scratch / "site")
        site.train(folder)
        with local_cluster(site, scratch / "serving") as cluster:
            spec = render_predictor(version="1", model_name="pets", model_uri=f"file://{site.package}", replicas=1, traffic=100)
            roll_out(cluster, SETTINGS, scaled_between(spec, 1, SETTINGS.max_replicas))
            print(f"{kind}; one to three replicas\n{'second':>7}{'clients':>9}{'replicas':>10}{'a second':>10}{'failed':>8}")
            _follow(cluster, sorted(path for path in folder.rglob("*") if path.is_file())[:200])


def _follow(cluster: LocalCluster, files: list[Path]) -> None:
    autoscaler, begun, stopping = Autoscaler(cluster), time.monotonic(), threading.Event()

    def scale() -> None:
        while not stopping.wait(SAMPLE_SECONDS):
            for sentence in autoscaler.step():
                print(f"{time.monotonic() - begun:>7.0f}  {sentence}", flush=True)

    thread = threading.Thread(target=scale)
    thread.start()
    url = cluster.describe("default", "pets").url
    for number, seconds in LOADS:
        with Clients(url, files, labelled=False, number=number) as clients:
            until, before = time.monotonic() + seconds, 0
            while (now := time.monotonic()) < until:
                time.sleep(min(5.0, until - now))
                done, before = clients.answered - before, clients.answered
                replicas = cluster.get("default", "pets").spec.predictors[0].replicas
                rate = done / (time.monotonic() - now)
                print(f"{time.monotonic() - begun:>7.0f}{number:>9}{replicas:>10}{rate:>10.0f}{clients.failed:>8}", flush=True)
    stopping.set()
    thread.join()


if __name__ == "__main__":
    main()
