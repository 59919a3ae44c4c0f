"""Two machines that share files: here two workspaces and a folder, with a real S3 server elsewhere (tests/system/test_remote_servers.py)."""

import json

import numpy as np
import pytest

from imageloop import shared_folder
from imageloop.data.array_store import ArrayStore, CorruptRowError
from imageloop.errors import ImageLoopError

KEYS = [f"k{number}" for number in range(40)]
ROWS = np.arange(40 * 6, dtype=np.float32).reshape(40, 2, 3)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Be another machine: machine("a") opens its store."""
    monkeypatch.setenv(shared_folder.VARIABLE, str(tmp_path / "shared"))

    def be(name: str) -> ArrayStore:
        monkeypatch.setenv("IMAGELOOP_HOME", str(tmp_path / name))
        return ArrayStore(tmp_path / name / "data" / "rows", (2, 3), np.float32)

    return be


def files_of(store):
    return {file.suffix for file in store.folder.glob("*")}


def test_features_of_one_machine_are_read_by_another(machine):
    machine("a").append(KEYS, ROWS, [{"n": number} for number in range(40)])

    there = machine("b")

    assert there.missing([*KEYS, "new"]) == ["new"]
    assert there.attributes("k7") == {"n": 7}
    np.testing.assert_array_equal(there.read(["k3", "k1"]), ROWS[[3, 1]])
    assert files_of(there) == set()  # two of forty rows were read where they lie
    np.testing.assert_array_equal(there.read(KEYS[::-1]), ROWS[::-1])
    assert files_of(there) == {".npy", ".json"}


def test_many_small_reads_end_in_fetching_the_whole_shard(machine):
    machine("a").append(KEYS, ROWS)
    there = machine("b")

    for key in KEYS[:9]:
        there.read([key])
    assert files_of(there) == set()
    there.read(KEYS[9:10])

    assert files_of(there) == {".npy", ".json"}


def test_later_shards_are_read_and_local_ones_preferred(machine, tmp_path):
    here = machine("a")
    here.append(KEYS[:20], ROWS[:20])
    there = machine("b")
    there.append(KEYS[20:], ROWS[20:])

    here.refresh()

    assert here.missing(KEYS) == []
    (tmp_path / "shared" / "data" / "rows").rename(tmp_path / "gone")
    np.testing.assert_array_equal(here.read(KEYS[:20]), ROWS[:20])


def test_a_damaged_row_is_detected_locally_and_remotely(machine, tmp_path):
    machine("a").append(KEYS, ROWS)
    (shard,) = (tmp_path / "shared" / "data" / "rows").glob("*.npy")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)

    there = machine("b")

    np.testing.assert_array_equal(there.read(["k0"]), ROWS[:1])
    with pytest.raises(CorruptRowError):
        there.read(["k39"])
    with pytest.raises(CorruptRowError):
        there.read(KEYS)
    there.discard_corrupt(KEYS)
    assert there.missing(KEYS) == KEYS
    assert machine("c").missing(KEYS) == KEYS


def test_an_index_that_is_no_index_is_made_again(machine, tmp_path):
    machine("a").append(KEYS, ROWS)
    (index,) = (tmp_path / "shared" / "data" / "rows").glob("*.json")
    index.write_text(json.dumps({"keys": KEYS})[:-5])

    assert machine("b").missing(KEYS) == KEYS


def test_single_files_are_read_as_they_grow(machine, tmp_path):
    machine("a")
    mine = tmp_path / "a" / "data" / "known.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("first")
    shared_folder.publish(mine)
    machine("b")
    theirs = tmp_path / "b" / "data" / "known.txt"

    shared_folder.fetch(theirs)

    assert theirs.read_text() == "first"
    shared_folder.fetch(theirs.with_name("absent.txt"))
    assert not theirs.with_name("absent.txt").exists()


def test_a_local_folder_and_a_single_workspace_share_nothing(machine, tmp_path, monkeypatch):
    machine("a")

    assert shared_folder.shared(tmp_path / "elsewhere") is None
    monkeypatch.delenv(shared_folder.VARIABLE)
    assert shared_folder.shared(tmp_path / "a" / "data") is None


def test_an_unreachable_store_is_an_error_with_its_address(machine, monkeypatch):
    monkeypatch.setenv(shared_folder.VARIABLE, "nowhere://bucket")

    with pytest.raises(ImageLoopError, match="IMAGELOOP_SHARED"):
        machine("a")


def test_a_file_for_a_mounted_folder_is_written_beside_its_name(machine, tmp_path, monkeypatch):
    """The folder may be another file system than /tmp: what is moved there from /tmp could be read half."""
    monkeypatch.setattr("tempfile.mkstemp", lambda *_a, **_k: pytest.fail("written to /tmp first"))
    machine("a")
    (tmp_path / "known.parquet").write_bytes(b"known")

    shared_folder.SharedFolder(str(tmp_path / "shared" / "data")).publish(tmp_path / "known.parquet")

    assert [file.name for file in (tmp_path / "shared" / "data").iterdir()] == ["known.parquet"]
