import subprocess
import sys
import tempfile

from imageloop.abandoned_work import is_abandoned, own_folder, process_mark, remove_abandoned_folders

KILLED = """
import os, signal
from imageloop.abandoned_work import own_folder, process_mark
print(own_folder("export"), process_mark(), sep="\\n", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_found_and_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    mine = own_folder("export")
    of_another_kind = own_folder("metrics")

    left, mark = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False).stdout.split()
    assert left in {str(path) for path in tmp_path.iterdir()}
    remove_abandoned_folders("export")

    assert set(tmp_path.iterdir()) == {mine, of_another_kind}
    assert is_abandoned(mark)
    assert not is_abandoned(process_mark())
    assert not is_abandoned("")
    assert not is_abandoned("another-machine/1")
