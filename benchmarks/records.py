"""What remembering costs: the statistics, the embedding and the line of a record, beside no record at all.

make bench-records        first of one prediction in one thread, then of the service with eight clients (needs `ab`)
"""

import os
import shutil
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.benchmark_images import photographs
from benchmarks.serving import measure, ours, trained_package
from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.embeddings.novelty import Novelty
from imageloop.model.int8_quantisation import quantise
from imageloop.model.onnx_export import attach_head
from imageloop.model.package import INT8_MODEL, PackageInfo
from imageloop.model.predictor import Predictor
from imageloop.records.record_writer import RecordWriter
from imageloop.training.features import exported_backbone
from imageloop.workspace_paths import Workspace
from seldon.service.compute_threads import ComputeThreads
from seldon.service.concurrency_limit import Admission
from seldon.service.prediction_handler import PredictionHandler, Shared
from seldon.service.prediction_requests import Identity, PredictionRequest

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as our launcher sets it


NUM_IMAGES = 200
ROUNDS = 7
SERVICE_ROUNDS = 15  # a service's throughput differs more from one round to the next


def main() -> None:
    one_answer()
    if shutil.which("ab"):
        whole_service()


def whole_service() -> None:
    """Two services of the same package, asked in turns."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        package, key, image = trained_package(scratch)
        servers = {
            name: ours(name, scratch / name, package, key, image, scratch / "records" if name == "with" else None)
            for name in ("without", "with")
        }
        try:
            for server in servers.values():
                measure(server, 8)  # warm
            found = []
            for number in range(SERVICE_ROUNDS):
                order = sorted(servers, reverse=bool(number % 2))
                found.append({name: measure(servers[name], 8) for name in order})
        finally:
            for server in servers.values():
                server.stop()
    for figure, what in (("rate", "requests/s"), ("cpu", "CPU s per 1,000")):
        without, with_records = (median(one[name][figure] for one in found) for name in ("without", "with"))
        ratio = median(one["with"][figure] / one["without"][figure] for one in found)
        print(f"8 clients: {without:.1f} {what} without records, {with_records:.1f} with: {ratio:.3f}x")


def one_answer() -> None:
    """The cost in one thread, without a server."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        source, kind = photographs(scratch / "drawn")
        contents = [path.read_bytes() for path in sorted(source.rglob("*.jpg"))[:NUM_IMAGES]]
        backbone = exported_backbone("efficientnet_lite0", 224, Workspace.current().backbones)
        quantise(backbone, scratch / "small.onnx", np.stack([preprocess(content, 224, Limits()) for content in contents[:64]]))
        info = PackageInfo(
            class_names=["a", "b"], side_pixels=224, preprocessing_version="1", model_kind="transfer", backbone="", temperature=1.0, seed=0,
            data_version="", git_commit="", run_id="", created_at=datetime.now(UTC),
        )  # fmt: skip
        rng = np.random.default_rng(0)
        weight = rng.normal(0, 0.05, (2, 1280)).astype(np.float32)
        attach_head(scratch / "small.onnx", scratch / INT8_MODEL, weight, np.zeros(2, np.float32), 1.0)
        predictor, identity = Predictor(scratch / INT8_MODEL, info, threads=1), Identity("m", "1", "v1")
        writer = RecordWriter(scratch / "records", lambda count: sys.exit(f"{count} records were lost"))
        known = Novelty.of(rng.normal(size=(400, 1280)).astype(np.float32), 2)
        handlers = {
            "without": PredictionHandler(predictor, identity, Shared(Admission(), ComputeThreads(1, 1)), known),
            "with": PredictionHandler(predictor, identity, Shared(Admission(), ComputeThreads(1, 1), writer), known),
        }
        times: dict[str, list[float]] = {name: [] for name in handlers}
        for number in range(ROUNDS):
            for place, content in enumerate(contents):  # in pairs, each first as often as the other
                for kept in sorted(handlers, reverse=bool((number + place) % 2)):
                    started = time.perf_counter()
                    handlers[kept].submit(PredictionRequest([content], None, "http")).result()
                    times[kept].append(1000 * (time.perf_counter() - started))
        beside = time.clock_gettime(
            time.pthread_getcpuclockid(next(t.ident for t in threading.enumerate() if t.name == "records"))
        )
        writer.close()
        without, with_records = (median(times[name]) for name in ("without", "with"))
        extra = median(w - o for w, o in zip(times["with"], times["without"], strict=True))
        print(f"{len(contents)} {kind}, {ROUNDS} rounds, median of pairs, {os.cpu_count()} cores, one thread")
        print(
            f"{without:.2f} ms a prediction without records, {with_records:.2f} ms with: {extra:.2f} ms more, {extra / without:.1%}, "
            f"and {1000 * beside / len(times['with']):.2f} ms of the writer's own thread"
        )


if __name__ == "__main__":
    main()
