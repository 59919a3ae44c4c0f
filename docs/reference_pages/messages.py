"""The page of error messages, read from the source of every error that is raised."""

import ast
from collections.abc import Iterator
from pathlib import Path

from docs.reference_pages.markdown import ROOT, code, page, table

ROOMS = {
    "Commands": ("cli", "operations", "stacks"),
    "Data": ("imageloop/data",),
    "Training and promotion": ("imageloop/embeddings", "imageloop/model", "imageloop/training", "imageloop/promotion", "imageloop/lifecycle"),
    "Monitoring and records": ("imageloop/monitoring", "imageloop/records"),
    "MLflow, ZenML, DVC, Git": ("imageloop/adapters", "steps", "pipelines", "materializers"),
    "Deployment": ("seldon/delivery",),
    "Service": ("seldon/service", "seldon/launcher.py", "seldon/microservice.py", "seldon/model_server.py", "seldon/graph_units.py", "seldon/v2_runtime.py"),
    "Everywhere": ("imageloop",),
}  # fmt: skip
MIN_WORDS = 3  # shorter ones are names of a reason, which other tables explain
BUILTIN = ("ValueError", "TypeError", "KeyError", "RuntimeError", "AssertionError", "NotImplementedError", "StopIteration")


def messages() -> str:
    """Every error message of the product, by the part that raises it."""
    parts: list[str] = []
    seen: set[Path] = set()
    for title, folders in ROOMS.items():
        files = sorted({file for folder in folders for file in _sources(ROOT / folder)} - seen)
        seen |= set(files)
        rows = [[code(message), code(file.relative_to(ROOT))] for file in files for message in dict.fromkeys(_messages_of(file))]
        parts.append(f"## {title}\n\n" + table(["message", "raised in"], rows))
    lead = (
        "Every message with which a command, a step or the service ends, with `…` for what differs. A message says what was expected, "
        "what it got, and what to do. [Troubleshooting](../troubleshooting.md) explains the frequent ones."
    )
    return page("Error messages", lead, *parts)


def _sources(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _messages_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id.endswith("Error") and node.func.id not in BUILTIN:
            for text in filter(None, map(_template, node.args)):
                if len(text.split()) >= MIN_WORDS:
                    yield text


def _template(node: ast.expr) -> str:
    """The text of a string expression, with `…` for each value; empty where it is none."""
    if isinstance(node, ast.Constant):
        return node.value.strip() if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values).strip()
    if isinstance(node, ast.BinOp):
        return f"{_template(node.left) or '…'}{_template(node.right) or '…'}"
    return ""
