"""DVC: images and catalogs are stored by content, and restored from a run's record alone, whatever Git has."""

import hashlib
import logging
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from imageloop import progress
from imageloop.atomic_files import replacing
from imageloop.data.settings import DvcSource, VersioningSettings
from imageloop.errors import ImageLoopError
from imageloop.shared_folder import shared_address
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
NUM_ARCHIVES = 16
DEFAULT_REMOTE = "store"
LIBRARIES = ("dvc.repo", "dvc.scm", "networkx")  # what DVC loads, a second of it, when it is first used


class VersioningError(ImageLoopError):
    """DVC could not store or restore data."""


@contextmanager
def data_lock(workspace: Workspace) -> Iterator[None]:
    """Let one run at a time read images in or track them; others wait."""
    lock = workspace.lock("data")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another run is reading images in; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def track(path: Path, workspace: Workspace, settings: VersioningSettings) -> str:
    """Add a file or folder below `data/` to DVC, push it, and return its pointer: the text of the .dvc file.

    Raises: VersioningError with DVC's message.
    """
    with _repository(workspace) as repository, _dvc_errors(f"track '{path}'"), progress.waiting(f"keep {path.name} with DVC"):
        (stage,) = repository.add(str(path))
        repository.push(targets=[stage.addressing], remote=settings.remote)
    return Path(f"{path}.dvc").read_text()


def track_images(raw: Path, workspace: Workspace, settings: VersioningSettings) -> str:
    """Track the folder of images, as it is or as archives, and return its pointer."""
    if not settings.archive:
        return track(raw, workspace, settings)
    archives = raw.with_name(f"{raw.name}.archives")
    pack(raw, archives)
    return track(archives, workspace, settings)


def pack(folder: Path, target: Path) -> None:
    """The files of `folder` as tar archives in the folder `target`; a new image changes one of them.

    The same files give the same bytes, so DVC sees no change where there is none.
    """
    members: list[list[Path]] = [[] for _ in range(NUM_ARCHIVES)]
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            members[hashlib.sha256(name.encode(errors="surrogateescape")).digest()[0] % NUM_ARCHIVES].append(path)
    with replacing(target) as aside:
        aside.mkdir()
        for number, paths in enumerate(progress.track(members, "pack archives", len(members))):
            with tarfile.open(aside / f"{number:02d}.tar", "w") as tar:
                for path in paths:
                    tar.add(path, path.relative_to(folder).as_posix(), recursive=False, filter=_without_history)


def _without_history(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def restore(pointer: str, target: Path, workspace: Workspace, remote: str | None = None) -> None:
    """Restore the files of a pointer to `target`, byte for byte, from the remote alone.

    `remote`: a remote's name in the configuration, or its address; by default the default remote.
    Raises: VersioningError; `target` must not exist yet.
    """
    if target.exists():
        raise VersioningError(f"expected a new folder to restore to, got '{target}' there already; name another or move it away")
    target.parent.mkdir(parents=True, exist_ok=True)
    address = remote if remote and ("/" in remote or ":" in remote) else _remote_config(workspace, remote)
    from dvc.repo import Repo

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".restore-") as scratch, _dvc_errors("restore the data"):
        Repo.init(scratch, no_scm=True).close()
        _write_config(Path(scratch), address if isinstance(address, dict) else {"url": address})
        pointer_file = Path(scratch, "data.dvc")
        pointer_file.write_text(pointer)
        with Repo(scratch) as repository, progress.waiting("check out with DVC"):
            repository.pull(targets=[str(pointer_file)])
        out = Path(scratch, _path_in(pointer))
        if out.name.endswith(".archives"):
            _unpack_all(out, Path(scratch, "unpacked"))
            out = Path(scratch, "unpacked")
        shutil.move(out, target)


def _unpack_all(archives: Path, target: Path) -> None:
    target.mkdir()
    for archive in sorted(archives.glob("*.tar")):
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")


def fetch_source(source: DvcSource, downloads: Path) -> Path:
    """A path of another DVC repository as a local folder, taken from its cache or its remote."""
    from dvc.repo import Repo
    from dvc.repo.open_repo import clean_repos

    folder = downloads / "dvc"
    try:
        with (
            replacing(folder) as aside,
            _dvc_errors(f"get '{source.path}' from '{source.repository}'"),
            progress.waiting("fetch with DVC"),
        ):
            Repo.get(source.repository, source.path, out=str(aside), rev=source.revision)
    finally:
        clean_repos()  # clones below the temporary folder, which only DVC's own command removes
    return folder


def _path_in(pointer: str) -> str:
    import yaml

    return str(yaml.safe_load(pointer)["outs"][0]["path"])


def _remote_config(workspace: Workspace, name: str | None) -> dict[str, Any]:
    with _repository(workspace) as repository:
        name = name or repository.config["core"].get("remote")
        remotes = repository.config["remote"]
        if name not in remotes:
            raise VersioningError(f"expected the DVC remote '{name}', got: {', '.join(remotes) or 'none'}; see `dvc remote list`")
        return dict(remotes[name])


@contextmanager
def _repository(workspace: Workspace) -> Iterator[Any]:
    """The DVC repository of the workspace, made where there is none: its remote is a folder here, or one that machines share."""
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    config = workspace.home / ".dvc" / "config"
    if not config.is_file() or not config.stat().st_size:  # empty: a process was killed between init and the configuration
        if not config.parent.is_dir():
            Repo.init(str(workspace.home), no_scm=not (workspace.home / ".git").exists()).close()
        _write_config(workspace.home, {"url": shared_address("dvc") or str(workspace.state / "dvc-remote")})
    with Repo(str(workspace.home)) as repository:
        yield repository


def _write_config(repository: Path, remote: dict[str, Any]) -> None:
    """Name the default remote in a repository's configuration, in UTF-8: DVC's own writer fails on a path with an accent."""
    from configobj import ConfigObj

    core = {"remote": DEFAULT_REMOTE, "analytics": "false"} | ({} if (repository / ".git").exists() else {"no_scm": "true"})
    with replacing(repository / ".dvc" / "config") as aside:
        config = ConfigObj({"core": core, f'remote "{DEFAULT_REMOTE}"': remote}, encoding="utf-8")
        config.filename = str(aside)
        config.write()


@contextmanager
def _dvc_errors(what: str) -> Iterator[None]:
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        yield
    except (DvcException, SCMError, OSError) as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise VersioningError(f"DVC could not {what}: {error}{cause}") from error
