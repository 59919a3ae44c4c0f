import functools
import hashlib
import http.server
import io
import re
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from imageloop.data.settings import ArchiveSource
from imageloop.data.sources.archive import ArchiveError, bring_archive, check_archive, fetch, fingerprint
from imageloop.data.sources.verified_download import DownloadError
from imageloop.errors import SettingsError

FILES = {"cat/1.jpg": b"a" * 1000, "dog/1.jpg": b"b" * 1000}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("make", "name"), [(make_zip, "a.zip"), (make_tar, "a.tar.gz")])
def test_zip_and_tar_are_unpacked(tmp_path, make, name):
    folder = bring_archive(ArchiveSource(location=str(make(tmp_path / name, FILES))), tmp_path / "downloads")

    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")} == FILES


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../out.jpg", "/tmp/out.jpg", "cat/../../out.jpg", "..\\out.jpg", "C:\\out.jpg"])
def test_no_path_leaves_the_folder_and_nothing_half_unpacked_stays(tmp_path, make, name):
    source = ArchiveSource(location=str(make(tmp_path / "a.archive", FILES | {name: b"x"})))

    with pytest.raises(ArchiveError, match="not safe"):
        bring_archive(source, tmp_path / "downloads")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "a.archive"]


def test_links_in_a_tar_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("cat/passwd.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)

    folder = bring_archive(ArchiveSource(location=str(tmp_path / "a.tar")), tmp_path / "downloads")

    assert list(folder.rglob("*")) == []


@pytest.mark.parametrize(("limit", "words"), [({"max_files": 1}, "more than 1 files"), ({"max_bytes": 1500}, "max_bytes")])
def test_limits_count_what_is_written_not_what_is_claimed(tmp_path, limit, words):
    source = ArchiveSource(location=str(make_zip(tmp_path / "a.zip", FILES)), **limit)

    with pytest.raises(ArchiveError, match=words):
        bring_archive(source, tmp_path / "downloads")


def test_a_damaged_archive_is_refused_by_name(tmp_path):
    whole = make_tar(tmp_path / "a.tar.gz", {"cat/1.jpg": bytes(range(256)) * 400}).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ArchiveError, match="damaged"):
        bring_archive(ArchiveSource(location=str(tmp_path / "a.tar.gz")), tmp_path / "downloads")


def test_a_wrong_hash_and_a_wrong_file_are_refused(tmp_path):
    (tmp_path / "a.zip").write_text("no archive")

    with pytest.raises(SettingsError, match="got something else"):
        check_archive(ArchiveSource(location=str(tmp_path / "a.zip")), "data.source.location")
    with pytest.raises(SettingsError, match="got no file"):
        check_archive(ArchiveSource(location=str(tmp_path / "gone.zip")), "data.source.location")
    source = ArchiveSource(location=str(make_zip(tmp_path / "b.zip", FILES)), sha256="0" * 64)
    with pytest.raises(DownloadError, match="sha256"):
        bring_archive(source, tmp_path / "downloads")


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves one file, in ranges; cuts the first answer off half way."""

    cut = True

    def do_GET(self):
        content = Path(self.directory, "a.zip").read_bytes()
        match = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) // 2 if Ranges.cut else len(content)
        Ranges.cut = False
        self.wfile.write(content[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    Ranges.cut = True
    (tmp_path / "www").mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranges, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_interrupted_download_resumes_where_it_stopped(tmp_path, server):
    content = make_zip(tmp_path / "www" / "a.zip", {f"cat/{i}.jpg": bytes([i]) * 5000 for i in range(50)}).read_bytes()
    url = f"http://127.0.0.1:{server.server_port}/a.zip"
    source = ArchiveSource(location=url, sha256=hashlib.sha256(content).hexdigest())

    with pytest.raises(DownloadError, match="goes on where it stopped"):
        fetch(source, tmp_path / "downloads")
    part = next((tmp_path / "downloads").glob("*.part")).stat().st_size
    file = fetch(source, tmp_path / "downloads")

    assert 0 < part < len(content)
    assert file.read_bytes() == content
    assert fetch(source, tmp_path / "downloads") == file
    assert fingerprint(source) == source.sha256[:16]
    file.write_bytes(content[:-1])
    assert fetch(source, tmp_path / "downloads").read_bytes() == content, "damaged since"


def test_a_download_with_another_hash_is_thrown_away(tmp_path, server):
    make_zip(tmp_path / "www" / "a.zip", FILES)
    Ranges.cut = False
    source = ArchiveSource(location=f"http://127.0.0.1:{server.server_port}/a.zip", sha256="0" * 64)

    with pytest.raises(DownloadError, match="sha256"):
        fetch(source, tmp_path / "downloads")

    assert list((tmp_path / "downloads").iterdir()) == []


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_damaged_tar_is_refused_also_where_its_own_structure_is_whole(tmp_path, mode):
    """JPEGs do not compress, so a wrong byte changes an image and nothing else; only the checksum shows it."""
    content = np.random.default_rng(0).bytes(200_000)
    file = make_tar(tmp_path / "a.tar", {"cat/1.jpg": content}, mode)
    damaged = bytearray(file.read_bytes())
    damaged[100_000] ^= 0xFF
    file.write_bytes(damaged)

    with pytest.raises(ArchiveError, match="damaged"):
        bring_archive(ArchiveSource(location=str(file)), tmp_path / "downloads")


def test_a_damaged_zip_is_refused(tmp_path):
    file = make_zip(tmp_path / "a.zip", {"cat/1.jpg": b"a" * 100 + np.random.default_rng(0).bytes(50_000)})
    damaged = bytearray(file.read_bytes())
    damaged[1000:3000] = bytes(2000)
    file.write_bytes(damaged)

    with pytest.raises(ArchiveError, match="damaged"):
        bring_archive(ArchiveSource(location=str(file)), tmp_path / "downloads")


def test_a_file_and_a_folder_of_one_name_cannot_be_unpacked(tmp_path):
    file = make_tar(tmp_path / "a.tar.gz", {"cat": b"x", "cat/1.jpg": b"x"})

    with pytest.raises(ArchiveError, match="a file and a folder of one name"):
        bring_archive(ArchiveSource(location=str(file)), tmp_path / "downloads")


def test_a_wrong_address_is_not_retried(tmp_path):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/none.zip"
        with pytest.raises(DownloadError, match=r"404 .*; correct the address"):
            bring_archive(ArchiveSource(location=address, sha256="0" * 64), tmp_path / "downloads")
        server.shutdown()


def test_an_archive_that_grows_beyond_reason_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("imageloop.data.sources.archive.RATIO_FROM_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/1.bmp", bytes(2**20))

    with pytest.raises(ArchiveError, match="max_ratio"):
        bring_archive(ArchiveSource(location=str(tmp_path / "bomb.zip")), tmp_path)
    assert bring_archive(ArchiveSource(location=str(tmp_path / "bomb.zip"), max_ratio=2000), tmp_path)
