"""Real servers for tests, each on a free loopback port and with its data below a folder of the test's; they end with the block."""

import contextlib
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import psutil
import psycopg
import pymysql
import pytest
import requests

from seldon.delivery.clusters.local.site_folders import free_port

PASSWORD = "a-long-password"
ARTIFACTS = "s3://imageloop/mlflow"  # where MLflow keeps what it is given


def _plain() -> dict[str, str]:
    """A server's environment: nothing of the site that the tests themselves run at."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("COV", "IMAGELOOP", "ZENML", "MLFLOW"))}


@contextmanager
def running(command: list, folder: Path, is_ready: Callable[[], bool], **options) -> Iterator[None]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, **{"cwd": folder, **options}, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(Exception):
                if is_ready():
                    break
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The URL of its database, as SQLAlchemy wants it; its log is in `folder`.

    Its data lie outside pytest's temporary folder: each pytest session takes other users' access to that away, and PostgreSQL, which refuses
    to run as root, would end in the middle of a session beside which another one begins.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
    if not programs:
        pytest.skip("no PostgreSQL on this machine")
    port, user = free_port(), {}
    with tempfile.TemporaryDirectory(prefix="imageloop-postgresql-") as own:
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            user = {"user": account.pw_uid, "group": account.pw_gid}
            os.chown(own, account.pw_uid, account.pw_gid)
        init = [programs[-1] / "initdb", "-D", f"{own}/data", "-U", "loop", "--no-sync", "-A", "trust"]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd=own, **user)
        command = [programs[-1] / "postgres", "-D", f"{own}/data", "-h", "127.0.0.1", "-p", str(port), "-k", own]

        def is_ready() -> bool:
            psycopg.connect(f"postgresql://loop@127.0.0.1:{port}/postgres", connect_timeout=2).close()
            return True

        with running(command, folder, is_ready, **{**user, "cwd": own}):
            yield f"postgresql+psycopg://loop@127.0.0.1:{port}/postgres"


def create_database(url: str, name: str) -> str:
    """Another database of the same PostgreSQL."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{url.rpartition('/')[0]}/{name}"


@contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """The URL of a database for ZenML, as ZenML wants it."""
    if which("mariadbd") is None:
        pytest.skip("no MariaDB on this machine")
    port, place = free_port(), Path("/tmp") / f"imageloop-mariadb-{os.getpid()}.sock"  # its path may have 107 characters at most
    own = ["--no-defaults", f"--user={pwd.getpwuid(os.geteuid()).pw_name}", f"--datadir={folder / 'data'}"]
    init = ["mariadb-install-db", *own, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(init, check=True, capture_output=True)
    command = [
        "mariadbd",
        *own,
        f"--socket={place}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        f"--pid-file={folder / 'pid'}",
    ]

    def is_ready() -> bool:
        ping = ["mariadb-admin", "--no-defaults", f"--socket={place}", "--user=root", "ping"]
        return subprocess.run(ping, capture_output=True, check=False).returncode == 0

    with running(command, folder, is_ready):
        with pymysql.connect(unix_socket=str(place), user="root") as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE zenml")
            cursor.execute(f"CREATE USER 'zenml'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
            cursor.execute("GRANT ALL ON zenml.* TO 'zenml'@'127.0.0.1'")
        yield f"mysql://zenml:{PASSWORD}@127.0.0.1:{port}/zenml"


@contextmanager
def zenml_server(folder: Path, store: str) -> Iterator[tuple[str, str]]:
    """Its address, and the key of a service account, which is what CI and clusters log in with."""
    port = free_port()
    environment = _plain() | {
        "ZENML_CONFIG_PATH": str(folder / "zenml"), "ZENML_STORE_URL": store, "ZENML_STORE_SSL": "false", "ZENML_SERVER_AUTO_ACTIVATE": "true",
        "ZENML_DEFAULT_USER_NAME": "admin", "ZENML_DEFAULT_USER_PASSWORD": PASSWORD, "ZENML_ANALYTICS_OPT_IN": "false",
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", "uvicorn", "zenml.zen_server.zen_server_api:app", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with running(command, folder, lambda: requests.get(f"{url}/health", timeout=5).ok, env=environment):
        admin = zenml_admin(url)
        account = requests.post(f"{url}/api/v1/service_accounts", json={"name": "ci", "active": True}, headers=admin, timeout=30)
        keys = f"{url}/api/v1/service_accounts/{account.json()['id']}/api_keys"
        yield url, requests.post(keys, json={"name": "ci"}, headers=admin, timeout=30).json()["body"]["key"]


def zenml_admin(url: str) -> dict[str, str]:
    """The headers that say who asks."""
    login = {"grant_type": "password", "username": "admin", "password": PASSWORD}
    return {"Authorization": f"Bearer {requests.post(f'{url}/api/v1/login', data=login, timeout=30).json()['access_token']}"}


@contextmanager
def mlflow_server(folder: Path, store: str, bucket: str) -> Iterator[str]:
    """Its address; it wants the user `admin` with `PASSWORD`, and hands on to its clients what it keeps in a bucket at the address `bucket`."""
    port = free_port()
    settings = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": f"sqlite:///{folder / 'users.db'}",
        "admin_username": "admin",
        "admin_password": PASSWORD,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    (folder / "auth.ini").write_text("\n".join(["[mlflow]", *(f"{key} = {value}" for key, value in settings.items())]))
    environment = _plain() | {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": PASSWORD}
    environment |= {"MLFLOW_S3_ENDPOINT_URL": bucket, "AWS_ACCESS_KEY_ID": "imageloop", "AWS_SECRET_ACCESS_KEY": PASSWORD}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # a dozen processes for what no test asks
    command = [
        sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", store, "--artifacts-destination", ARTIFACTS, "--workers", "1",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with running(command, folder, lambda: requests.get(f"{url}/health", timeout=5).ok, env=environment):
        yield url


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """The address of a store that speaks S3's protocol, takes any key, and has a bucket `imageloop`."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    with running(command, folder, lambda: requests.get(f"{url}/moto-api/data.json", timeout=5).ok, env=_plain()):
        requests.put(f"{url}/imageloop", timeout=10).raise_for_status()
        yield url


@contextmanager
def git(folder: Path) -> Iterator[str]:
    """The address below which the repositories in `folder` can be cloned."""
    port = free_port()
    command = [
        "git",
        "daemon",
        "--export-all",
        "--reuseaddr",
        "--listen=127.0.0.1",
        f"--port={port}",
        f"--base-path={folder}",
        folder,
    ]

    def is_ready() -> bool:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True

    with running(command, folder, is_ready):
        yield f"git://127.0.0.1:{port}"


class RayCluster:
    """A head node, and raylets that join it and can be killed, each with one core; only holders of the token may use it."""

    IP = "127.0.0.2"  # Ray takes the machine's own address for 127.0.0.1

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.address = f"{self.IP}:{self.port}"
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": PASSWORD * 3, "RAY_ADDRESS": self.address}
        self._processes: list[subprocess.Popen] = []

    def start(self, *options: str) -> subprocess.Popen:
        """Start a node and wait for it."""
        command = [
            Path(sys.executable).with_name("ray"), "start", "--block", f"--node-ip-address={self.IP}", "--num-cpus=1",
            "--object-store-memory=200000000", "--min-worker-port=0", "--max-worker-port=0", *options,
        ]  # fmt: skip
        environment = _plain() | self.environment | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(Path(__file__).parents[1])}
        del environment["RAY_ADDRESS"]
        with (self._folder / f"log{len(self._processes)}").open("ab") as log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._processes.append(process)
        deadline = time.monotonic() + 120
        while not any("raylet" in child.name() for child in psutil.Process(process.pid).children(recursive=True)):
            ended = process.poll() is not None or time.monotonic() > deadline
            assert not ended, (self._folder / f"log{len(self._processes) - 1}").read_text()[-2000:]
            time.sleep(0.2)
        return process

    def start_head(self) -> None:
        self.start(
            "--head",
            f"--port={self.port}",
            "--include-dashboard=false",
            f"--temp-dir={self._folder}",
            f"--ray-client-server-port={free_port()}",
        )

    def join(self) -> subprocess.Popen:
        """Another raylet."""
        return self.start(f"--address={self.address}")

    def join_and_wait(self) -> subprocess.Popen:
        """Another raylet, once the cluster knows it; in a process that is connected."""
        import ray

        known = {node["NodeID"] for node in ray.nodes()}  # one that was just killed may count as alive for some seconds
        process, deadline = self.join(), time.monotonic() + 60
        while not any(node["Alive"] and node["NodeID"] not in known for node in ray.nodes()):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return process

    def kill(self, process: subprocess.Popen) -> None:
        """End a node at once, as a machine that loses its power."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        process.wait(10)

    def end(self) -> None:
        for process in reversed(self._processes):
            self.kill(process)


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """A Ray cluster of one node, whose folder has a short name: Ray's sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        cluster = RayCluster(Path(folder))
        try:
            cluster.start_head()
            yield cluster
        finally:
            cluster.end()
