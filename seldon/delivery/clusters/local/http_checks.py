"""Read a path of a process on this machine."""

import urllib.error
import urllib.request


def get(port: int, path: str) -> str | None:
    """The text at a path, None where the process does not respond with success."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
            return str(response.read().decode())
    except (OSError, urllib.error.URLError, ValueError):
        return None
