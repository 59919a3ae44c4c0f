"""Break one thing after the other under load, and say what it cost.

make drill        a site of its own; some minutes. What it prints: failed requests, time to recover, records lost
"""

import io
import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import requests
from PIL import Image

from benchmarks.training import own_environment
from operations.demo_loop.traffic import Traffic
from operations.demo_loop.traffic_images import drawn_images

ROOT = Path(__file__).parents[1]


NUM_CALLERS = 4
PAUSE_SECONDS = 0.05
WATCH_SECONDS = 12
BURST_SECONDS = 20
BURST_CALLERS = 64
SITE_VARIABLE = "IMAGELOOP_SITE"
STAGES = (
    "collect",
    "measure",
    "decide",
    "collect_feedback",
    "train",
    "calibrate",
    "export",
    "evaluate",
    "gate",
    "sign",
    "register",
    "roll_out",
)
RETRAIN = (
    "--config",
    "configs/demo-loop.yaml",
    "--set",
    "monitoring.decision.new_labels=20",
    "--set",
    "rollout.strategy.watch.min_requests=40",
)
COLLECT = (
    "import sys; from pathlib import Path; from imageloop.records.store.collector import collect; from imageloop.records.store.database import Database\n"
    "collect(Path(sys.argv[1]), Database.of_folder(Path(sys.argv[2])))"
)


@dataclass
class Row:
    """One thing that was broken."""

    what: str
    requests: int
    failed: int
    refused: int
    recovered_seconds: float | None
    note: str = ""


class Callers:
    """Requests without a retry, each prediction's time and code."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.done: list[tuple[float, int]] = []
        self._content = _image()
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(NUM_CALLERS)
        for _ in range(NUM_CALLERS):
            self._pool.submit(self._call_on)

    def stop(self) -> None:
        self._stopping.set()
        self._pool.shutdown()

    def since(self, begun: float) -> list[tuple[float, int]]:
        return [one for one in self.done if one[0] >= begun]

    def _call_on(self) -> None:
        with requests.Session() as session:
            while not self._stopping.is_set():
                begun = time.monotonic()
                try:
                    code = session.post(
                        f"{self.url}/predict", self._content, headers={"Content-Type": "image/jpeg"}, timeout=10
                    ).status_code
                except requests.RequestException:
                    code = 0
                self.done.append((begun, code))
                self._stopping.wait(PAUSE_SECONDS)


class Drill:
    """A site that serves under load, and what is done to it."""

    def __init__(self, scratch: Path) -> None:
        self.home = scratch / "home"
        self.home.mkdir()
        self._environment = own_environment(scratch) | {"IMAGELOOP_GATEWAY_PORT": "0"}
        self.run("stacks/apply.py", "--activate", "local")
        self.url = json.loads(self.run("run.py", "train", "--deploy", "--json"))["deployment"]["url"]
        self.callers = Callers(self.url)
        self.rows: list[Row] = []

    def run(self, program: str, *arguments: str, expect: int | None = 0) -> str:
        command = [sys.executable, ROOT / program, *arguments]
        done = subprocess.run(command, env=self._environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if expect is not None and done.returncode != expect:
            raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stderr[-500:]}")
        return done.stdout if expect is not None else done.stderr

    def start(self, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, ROOT / "run.py", *arguments]
        return subprocess.Popen(command, env=self._environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def processes(self, *words: str) -> list[psutil.Process]:
        """Those of this site whose command line has all of the words."""
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                mine = str(self.home) in line or str(self.home) in process.environ().get(SITE_VARIABLE, "")
            except psutil.Error:
                continue
            if mine and all(word in line for word in words):
                found.append(process)
        return found

    def breaks(
        self,
        what: str,
        work: Callable[[], str | None],
        is_well: Callable[[], bool],
        repair: Callable[[], object] | None = None,
    ) -> None:
        """Do it, repair what does not repair itself, wait until all is well again, and count what callers saw from the beginning."""
        begun = time.monotonic()
        note, broken, recovered = work() or "", time.monotonic(), None
        if repair is not None:
            repair()
        while time.monotonic() - broken < 60:
            if is_well():
                recovered = time.monotonic() - broken
                break
            time.sleep(0.05)
        time.sleep(max(0.0, WATCH_SECONDS - (time.monotonic() - begun)))
        responses = self.callers.since(begun)
        failed = sum(code not in (200, 503, 429) for _, code in responses)
        refused = sum(code in (503, 429) for _, code in responses)
        self.rows.append(Row(what, len(responses), failed, refused, recovered, note))
        print(f"  {what}: {failed} of {len(responses)} failed", file=sys.stderr, flush=True)

    def all_ready(self) -> bool:
        status = json.loads(self.run("run.py", "status", "--json"))
        return all(part["ready"] == part["expected"] for one in status["deployments"] for part in one["predictors"])

    def predicts(self) -> bool:
        try:
            return requests.get(f"{self.url}/health/ping", timeout=1).ok
        except requests.RequestException:
            return False

    def kill(self, *words: str, workers: bool = False) -> None:
        process = self.processes(*words)[0]
        if workers:
            process = process.children()[0]
        process.send_signal(signal.SIGKILL)

    def kill_in_step(self, name: str) -> bool:
        """Start a monitoring run and kill it while the step is at work; False where it ended without that step."""
        (store,) = (self.home.parent / "zenml").rglob("zenml.db")
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
            steps = "SELECT count(*) FROM step_run WHERE name = ? AND status = 'running'"
            before = connection.execute(steps, (name,)).fetchone()
            process = self.start("monitor", *RETRAIN)
            while process.poll() is None:
                if connection.execute(steps, (name,)).fetchone() != before:
                    process.kill()
                    process.wait()
                    return True
                time.sleep(0.02)
        return False

    def rows_in_database(self) -> int:
        file = self.home / ".imageloop" / "records" / "records.db"
        with sqlite3.connect(file) as connection:
            return int(connection.execute("SELECT count(*) FROM predictions").fetchone()[0])


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        drill = Drill(Path(scratch))
        try:
            _break_everything(drill)
        finally:
            drill.callers.stop()
            drill.run("run.py", "down", expect=None)
        _print(drill.rows)


def _break_everything(drill: Drill) -> None:
    drill.breaks("nothing", lambda: None, drill.predicts)
    drill.breaks("a worker is killed", lambda: drill.kill("seldon.launcher", workers=True), drill.all_ready)
    drill.breaks("a replica is killed", lambda: drill.kill("seldon.launcher"), drill.all_ready)
    drill.breaks("the gateway is killed", lambda: drill.kill("envoy"), drill.predicts)
    drill.breaks(
        "the supervisor is killed", lambda: _kill_supervisor(drill), drill.all_ready, lambda: drill.run("run.py", "deploy")
    )
    drill.breaks("the collector is killed five times", lambda: _kill_collector(drill), lambda: True)
    drill.breaks("the monitor is killed in each step", lambda: _kill_watch(drill), lambda: True)
    drill.breaks("the database is gone", lambda: _lose_database(drill), lambda: True)
    drill.breaks("records cannot be written", lambda: _fill_disk(drill), lambda: True)
    drill.breaks("a package is corrupted and deployed", lambda: _corrupt_package(drill), drill.all_ready)
    drill.breaks(f"ten times the capacity for {BURST_SECONDS} s", lambda: _burst(drill), drill.predicts)


def _kill_supervisor(drill: Drill) -> str:
    drill.kill("supervisord")
    return "what it kept serves on until what the next deploy starts is ready"


def _kill_collector(drill: Drill) -> str:
    folder, state = drill.home / ".imageloop" / "serving" / "records", drill.home / ".imageloop" / "records"
    command = [sys.executable, "-c", COLLECT, folder / "default" / "imageloop", state]
    for tenths in (4, 6, 8, 10, 12):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        time.sleep(tenths / 10)
        process.kill()
        process.wait()
    time.sleep(1)
    num_predictions = sum(code == 200 for _, code in drill.callers.done)
    subprocess.run(command, cwd=ROOT, check=True)
    return f"{drill.rows_in_database()} rows of at least {num_predictions} predictions"


def _kill_watch(drill: Drill) -> str:
    """Drift and its ground truth lead to a retraining; it is resumed after a monitoring run was killed."""
    with Traffic(drill.url, 20.0, drawn_images()[1]) as traffic:
        traffic.labelled_share = 0.7
        traffic.wait_for(480)
        killed = [stage for stage in STAGES if drill.kill_in_step(stage)]
        found = json.loads(drill.run("run.py", "monitor", *RETRAIN, "--json"))
    outcome = "; ".join([*found["finished"], str(found["outcome"] or "")])
    return f"killed in {', '.join(killed)}; at the end: {outcome[:90]}"


def _lose_database(drill: Drill) -> str:
    folder = drill.home / ".imageloop" / "records"
    folder.rename(folder.with_name("records.away"))
    folder.write_text("no folder")
    said = drill.run("run.py", "monitor", expect=None).strip().splitlines()
    folder.unlink()
    folder.with_name("records.away").rename(folder)
    drill.run("run.py", "monitor")
    return next((line for line in said if line.startswith("error:")), "")[:110]


def _fill_disk(drill: Drill) -> str:
    folder = drill.home / ".imageloop" / "serving" / "records" / "default" / "imageloop"
    before = _lost(drill)
    folder.rename(folder.with_name("away"))
    folder.write_text("no folder")
    time.sleep(3)
    folder.unlink()
    folder.with_name("away").rename(folder)
    time.sleep(1)
    return f"{_lost(drill) - before:.0f} records lost, and counted"


def _lost(drill: Drill) -> float:
    addresses = json.loads(drill.run("run.py", "status", "--json"))["metrics"]
    texts = [requests.get(address, timeout=5).text for address in addresses]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("imageloop_records_lost_total")]
    return sum(float(line.split()[-1]) for line in lines)


def _corrupt_package(drill: Drill) -> str:
    trained = json.loads(
        drill.run("run.py", "train", "--set", "training.seed=9", "--set", "promotion.gates.champion_margin=1.0", "--json")
    )
    packages = sorted((drill.home / ".imageloop" / "mlartifacts").rglob("model.onnx"), key=lambda file: file.stat().st_mtime)
    with packages[-1].open("r+b") as file:
        file.seek(1000)
        file.write(b"corrupted")
    said = drill.run("run.py", "deploy", "--version", trained["model_version"], expect=None).strip().splitlines()
    return next((line for line in said if line.startswith("error:")), "")[:110]


def _burst(drill: Drill) -> str:
    content, codes, deadline = _image(), [], time.monotonic() + BURST_SECONDS

    def hammer(_: int) -> None:
        with requests.Session() as session:
            while time.monotonic() < deadline:
                try:
                    codes.append(
                        session.post(
                            f"{drill.url}/predict", content, headers={"Content-Type": "image/jpeg"}, timeout=20
                        ).status_code
                    )
                except requests.RequestException:
                    codes.append(0)

    with ThreadPoolExecutor(BURST_CALLERS) as pool:
        list(pool.map(hammer, range(BURST_CALLERS)))
    counts = {code: codes.count(code) for code in sorted(set(codes))}
    return f"{BURST_CALLERS} callers without a pause: {counts}"


def _image() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3)).astype(np.uint8)).save(out, "JPEG")
    return out.getvalue()


def _print(rows: list[Row]) -> None:
    width = max(len(row.what) for row in rows)
    print(f"{'what was done':<{width}}  requests  failed  refused  well again after")
    for row in rows:
        recovered = "-" if row.recovered_seconds is None else f"{row.recovered_seconds:.1f} s"
        print(f"{row.what:<{width}}  {row.requests:8}  {row.failed:6}  {row.refused:7}  {recovered:>16}  {row.note}")


if __name__ == "__main__":
    main()
