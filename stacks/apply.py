"""Register every stack under stacks/ with ZenML, again and again with the same result.

    python stacks/apply.py [FILE ...]

What changed in a file is updated, a key that was taken out of it is taken out of ZenML, and nothing else is touched.
"""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, it stands one folder below the project's root

from classifier.errors import SettingsError
from classifier.settings import Settings
from classifier.workspace import HOME_VARIABLE, Workspace

if TYPE_CHECKING:
    from zenml.client import Client
    from zenml.models import ComponentResponse

FOLDER = Path(__file__).parent
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:-(?P<default>[^{}]*))?\}")


class ComponentFile(Settings):
    name: str
    flavor: str
    config: dict[str, Any] = {}


class StackFile(Settings):
    """One file under stacks/: the type of each component, and what it is."""

    name: str
    components: dict[str, ComponentFile]


def read_stack(file: Path, environment: dict[str, str]) -> StackFile:
    """Read a file with `${NAME}` and `${NAME:-default}` filled in from the environment.

    Raises: SettingsError for a variable that is neither set nor has a default.
    """
    return StackFile.model_validate(yaml.safe_load(fill_in(file.read_text(), environment)))


def fill_in(text: str, environment: dict[str, str]) -> str:
    """Innermost variables first, so that a default may name another variable."""

    def value(match: re.Match[str]) -> str:
        found = environment.get(match["name"]) or match["default"]
        if found is None:
            raise SettingsError(f"wanted the environment variable {match['name']}, found it unset; set it, or give it a default in the file")
        return found

    while VARIABLE.search(text):
        text = VARIABLE.sub(value, text)
    return text


def apply(stack: StackFile, client: "Client") -> None:
    """Make ZenML's components and stack what the file says."""
    components = {kind: [_apply_component(kind, wanted, client)] for kind, wanted in stack.components.items()}
    found = next((known for known in client.list_stacks(name=stack.name, size=1000) if known.name == stack.name), None)
    if found is None:
        client.create_stack(stack.name, components={_kind(kind): ids[0] for kind, ids in components.items()})
    else:
        _update_stack(found.id, {kind: [part.id for part in parts] for kind, parts in found.components.items()}, components, client)


def _update_stack(stack_id: UUID, have: dict[Any, list[UUID]], wanted: dict[str, list[UUID]], client: "Client") -> None:
    by_name = {getattr(kind, "value", kind): ids for kind, ids in have.items()}
    if by_name == wanted:
        return
    gone = {_kind(kind): [] for kind in by_name.keys() - wanted.keys()}
    client.update_stack(stack_id, component_updates=gone | {_kind(kind): ids for kind, ids in wanted.items()})


def _apply_component(kind: str, wanted: ComponentFile, client: "Client") -> UUID:
    found = _find(kind, wanted.name, client)
    if found is not None and found.flavor_name != wanted.flavor:
        raise SettingsError(
            f"wanted the {kind} '{wanted.name}' of flavor '{wanted.flavor}', found one of flavor '{found.flavor_name}'; "
            f"rename it in the file, or delete the old one: zenml {kind.replace('_', '-')} delete {wanted.name}"
        )
    if found is None:
        return client.create_stack_component(wanted.name, wanted.flavor, _kind(kind), wanted.config).id
    gone = dict.fromkeys(found.configuration.keys() - wanted.config.keys())
    if gone or found.configuration != wanted.config:
        client.update_stack_component(found.id, _kind(kind), configuration=wanted.config | gone)
    return found.id


def _find(kind: str, name: str, client: "Client") -> "ComponentResponse | None":
    """By its exact name: ZenML's own look-up takes a prefix for a match."""
    return next((part for part in client.list_stack_components(type=kind, name=name, size=1000) if part.name == name), None)


def _kind(kind: str) -> Any:
    from zenml.enums import StackComponentType

    return StackComponentType(kind)


def main(files: list[Path]) -> None:
    from zenml.client import Client

    environment = {HOME_VARIABLE: str(Workspace.current().home)} | dict(os.environ)
    client = Client()
    for file in files:
        stack = read_stack(file, environment)
        apply(stack, client)
        print(f"stack '{stack.name}' is registered as {file.name} has it")


if __name__ == "__main__":
    try:
        main([Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.yaml")))
    except SettingsError as error:
        sys.exit(f"error: {error}")
