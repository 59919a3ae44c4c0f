"""The entry point of ImageLoop: python run.py [COMMAND]. The commands are in cli/."""

import atexit
import gc
import os
import sys

# Libraries create a million long-lived objects; collecting them repeatedly costs a second.
gc.set_threshold(50_000, 20, 50)
PYTHON = (3, 12)


def silence() -> None:
    """Discard what C++ libraries print during shutdown. Registered first, so called last."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the descriptor of C code, whatever sys.stderr is by now


def check_environment() -> None:
    """Exit with one sentence if the Python version or the packages are not the project's."""
    if sys.version_info[:2] != PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"error: expected Python {PYTHON[0]}.{PYTHON[1]}, got {found}; run: make setup, then .venv/bin/python run.py")
    try:
        import typer  # noqa: F401
    except ModuleNotFoundError:
        sys.exit(
            "error: expected the project's environment, got a Python without its packages; run: make setup, then .venv/bin/python run.py"
        )


def main() -> None:
    """Run the command line, as `python run.py` and as the program `imageloop` of the environment, which shells can complete."""
    atexit.register(silence)
    check_environment()
    from cli.app import app

    try:
        app()
    finally:
        gc.freeze()  # otherwise shutdown spends seconds on reference cycles of ZenML and torch


if __name__ == "__main__":
    main()
