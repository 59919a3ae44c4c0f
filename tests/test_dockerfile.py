"""The container image of pipelines and sites holds every package of ours that its code imports."""

import ast
from pathlib import Path

from tests.fakes.kubernetes.kubelet import in_image

PROJECT = Path(__file__).parents[1]


def test_the_pipeline_image_has_every_package_that_its_code_imports():
    copied = {name.removesuffix(".py") for name in in_image()}
    ours = {path.stem for path in PROJECT.iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"}
    sources = [
        file for name in in_image() for file in ([PROJECT / name] if name.endswith(".py") else (PROJECT / name).rglob("*.py"))
    ]

    imported = {name.partition(".")[0] for file in sources for name in _imports(ast.parse(file.read_text()))}

    assert {"cli", "operations", "imageloop"} <= imported
    assert imported & ours <= copied


def _imports(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_the_pipeline_image_has_the_loader_of_earlier_mlflow_versions():
    assert "classifier.py" in in_image()
