import numpy as np
import pytest

from imageloop.data.array_store import ArrayStore, CorruptRowError


def filled(folder, count=5):
    store = ArrayStore(folder, (4,), np.float32)
    store.append([f"k{i}" for i in range(count)], np.arange(count * 4).reshape(count, 4), [{"n": i} for i in range(count)])
    return store


def test_rows_are_read_in_the_requested_order_by_a_new_process(tmp_path):
    filled(tmp_path)

    again = ArrayStore(tmp_path, (4,), np.float32)

    assert again.read(["k3", "k0"])[:, 0].tolist() == [12, 0]
    assert again.attributes("k3") == {"n": 3}
    assert again.missing(["k1", "new", "new"]) == ["new"]


def test_rows_of_another_process_are_read(tmp_path):
    ours = ArrayStore(tmp_path, (4,), np.float32)
    filled(tmp_path)

    ours.refresh()

    assert "k4" in ours


def test_a_flipped_byte_is_noticed_and_the_shard_is_made_again(tmp_path):
    store = filled(tmp_path)
    shard = next(tmp_path.glob("*.npy"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)

    with pytest.raises(CorruptRowError):
        store.read(["k4"])
    store.discard_corrupt(["k0", "k4"])

    assert store.missing(["k4"]) == ["k4"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"not numpy", None])
def test_a_shard_that_is_cut_off_or_gone_counts_as_missing(tmp_path, damage):
    filled(tmp_path)
    shard = next(tmp_path.glob("*.npy"))
    shard.unlink() if damage is None else shard.write_bytes(damage)

    assert "k0" not in ArrayStore(tmp_path, (4,), np.float32)


def test_an_index_without_json_counts_as_missing(tmp_path):
    filled(tmp_path)
    next(tmp_path.glob("*.json")).write_text("{")

    assert "k0" not in ArrayStore(tmp_path, (4,), np.float32)


def test_rows_of_another_shape_are_refused(tmp_path):
    with pytest.raises(ValueError, match="shape"):
        ArrayStore(tmp_path, (4,), np.float32).append(["a"], np.zeros((1, 3)))
