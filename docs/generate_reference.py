"""Write docs/reference/*.md from the code: python -m docs.generate_reference [--check].

--check writes nothing, and fails where a page is not what the code says.
"""

import argparse
import sys

from docs.reference_pages.commands import commands
from docs.reference_pages.markdown import ROOT
from docs.reference_pages.messages import messages
from docs.reference_pages.results import results
from docs.reference_pages.service import api, environment, metrics, package, records
from docs.reference_pages.settings import settings

FOLDER = ROOT / "docs" / "reference"
PAGES = {
    "commands.md": commands, "settings.md": settings, "json.md": results, "api.md": api, "metrics.md": metrics,
    "environment.md": environment, "records.md": records, "package.md": package,
    "messages.md": messages,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    FOLDER.mkdir(exist_ok=True)
    stale = []
    for name, make in PAGES.items():
        text, file = make(), FOLDER / name
        if check and (not file.exists() or file.read_text() != text):
            stale.append(name)
        elif not check:
            file.write_text(text)
    if stale:
        sys.exit(f"error: docs/reference is not what the code says: {', '.join(stale)}; run: make docs-reference")


if __name__ == "__main__":
    main()
