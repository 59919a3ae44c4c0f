"""Code, settings and documents use one glossary, `docs/concepts.md`; words that it replaced are not used again."""

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
REPLACED = {
    "picture": r"\bpictures?\b",
    "true label": r"true[_ ]label",
    "truth, unless ground truth": r"(?<!ground)(?<!ground[ _-])\btruths?\b",
    "imitation": r"(?<!l)imitat",
    "familiarity": r"familiar",
    "wealth": r"\bwealth\b",
    "tell": r"(?<!\.)\b(tell|tells|teller|tellers|told)\b",
    "put aside": r"\bput aside\b",
    "a person's word": r"a person's word",
    "story": r"\bstory\b",
    "visitor": r"\bvisitors?\b",
    "wanted": r"\bwanted\b",
    "bring back": r"\b(bring|brings|bringing|brought)[ _]back\b",
    "the watch": r"\bthe watch\b",
    "experience": r"\bexperience\b",
    "keeper": r"\bkeeper\b",
    "world, unless a group of processes": r"\bworlds?\b(?! (size|rank))",
    "look after": r"\blook(s|ed)? after\b",
}
OLD_NAMES = {  # files that translate what older releases stored or called so
    "CHANGELOG.md",
    "cli/renamed_commands.py",
    "docs/how-to/upgrade.md",
    "imageloop/embeddings/novelty.py",
    "imageloop/records/record_types.py",
    "imageloop/records/retained_images.py",
    "imageloop/records/store/migrations/versions/0001_first.py",
    "imageloop/records/store/migrations/versions/0002_rename_columns.py",
    "imageloop/renamed_settings.py",
    "operations/demo_loop/scenario.py",
    "tests/imageloop/records/store/test_database.py",
    "tests/test_glossary.py",
}
SELDON_FEEDBACK = {  # Seldon's feedback message has a field `truth`
    "docs/reference/messages.md",
    "docs/reference/api.md",
    "seldon/service/feedback_messages.py",
    "seldon/service/openapi.py",
    "tests/seldon/service/test_contract.py",
    "tests/seldon/service/test_grpc.py",
    "tests/seldon/service/test_request_errors.py",
    "tests/seldon/service/test_routes.py",
}
ENDINGS = {"", ".css", ".html", ".js", ".md", ".py", ".sh", ".tf", ".toml", ".yaml", ".yml"}


@pytest.fixture(scope="module")
def lines() -> list[tuple[str, int, str]]:
    """Every line of the searched files: its file, its number, its text."""
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository")
    kept = [name for name in listed.stdout.splitlines() if Path(name).suffix in ENDINGS and Path(name).name != "LICENSE"]
    searched = [name for name in kept if (PROJECT / name).is_file() and name not in OLD_NAMES]
    return [
        (name, number, line)
        for name in searched
        for number, line in enumerate((PROJECT / name).read_text(errors="replace").splitlines(), 1)
    ]


@pytest.mark.parametrize("word", REPLACED)
def test_a_replaced_word_is_not_used(word, lines):
    pattern = re.compile(REPLACED[word], re.IGNORECASE)
    exceptions = SELDON_FEEDBACK if word.startswith("truth") else set()
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, number, line in lines
        if name not in exceptions and pattern.search(line.replace("_", " "))
    ]
    assert not found, "\n".join(found)


def test_every_exception_is_needed():
    """An exception whose file no longer has a replaced word, or is gone, is deleted from the list."""
    patterns = [re.compile(pattern, re.IGNORECASE) for pattern in REPLACED.values()]
    for name in OLD_NAMES | SELDON_FEEDBACK:
        text = (PROJECT / name).read_text()
        assert any(pattern.search(text) for pattern in patterns), name
