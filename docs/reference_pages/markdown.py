"""The pieces of a page in Markdown."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTE = "<!-- Written by docs/generate_reference.py: change the code, then run make docs-reference. -->\n"


def page(title: str, lead: str, *parts: str) -> str:
    """A page with its title, its first sentence, and its sections."""
    return "\n\n".join([NOTE + f"# {title}", lead, *parts]).rstrip() + "\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown; cells may hold pipes and line breaks."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def code(value: object) -> str:
    """A value as code; nothing where it is empty."""
    text = str(value)
    if "`" in text:
        return f"`` {text} ``"
    return f"`{text}`" if text else ""
