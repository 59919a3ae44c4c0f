"""The files under stacks/: read, checked, and filled in from the environment."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from imageloop.errors import SettingsError
from imageloop.settings import Settings
from imageloop.workspace_paths import HOME_VARIABLE, PROJECT, Workspace

FOLDER = PROJECT / "stacks"
UNSET = "unset"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:-(?P<default>[^{}]*))?\}")


class ComponentFile(Settings):
    """A component as ZenML's CLI would register it."""

    name: str
    flavor: str
    config: dict[str, Any] = Field(default_factory=dict)


class StackFile(Settings):
    """One file under stacks/: the flavor and the configuration of each component, and ZenML secrets that these refer to.

    `secrets`: the values of each secret, by its name and theirs; one that is `unset` is not known to this shell.
    `steps`: further `pod_settings` of single steps, on top of the orchestrator's.
    """

    name: str
    components: dict[str, ComponentFile]
    secrets: dict[str, dict[str, str]] = Field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = Field(default_factory=dict)


def read_stack(file: Path, environment: dict[str, str]) -> StackFile:
    """Read a file with `${NAME}` and `${NAME:-default}` filled in from the environment.

    Values are filled in where the file has them, so none of what YAML means something by (quotes, #, a backslash) means it in them.
    Raises: SettingsError for a variable that is neither set nor has a default, and a file that is no stack.
    """
    try:
        return _read(file, environment)
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"expected a stack in '{file}', got: {str(error).replace(chr(10), ' ')}") from error
    except ValidationError as error:
        raise SettingsError(f"expected a stack in '{file}', got: {validation_summary(error, 'the file')}") from error


def validation_summary(error: ValidationError, whole: str) -> str:
    """The errors of pydantic in one line; `whole` names the input where no key is at fault."""
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or whole}: {one['msg']}" for one in error.errors())


def _read(file: Path, environment: dict[str, str]) -> StackFile:
    loader = yaml.SafeLoader(file.read_text())
    try:
        root = loader.get_single_node()
        if root is None:
            raise SettingsError(f"expected a stack in '{file}', got an empty file")
        for node in _scalars(root):
            if VARIABLE.search(node.value):
                node.value = fill_in(node.value, environment)
                if node.style is None:  # without quotes, a number is one
                    node.tag = loader.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        return StackFile.model_validate(loader.construct_document(root))
    finally:
        loader.dispose()


def _scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for part in node.value:
            yield from _scalars(part)
    elif isinstance(node, yaml.MappingNode):
        for key, part in node.value:
            yield from _scalars(key)
            yield from _scalars(part)


def known_variables() -> dict[str, str]:
    """Return the variables that fill in stack files: this shell's environment, and the default home."""
    return {HOME_VARIABLE: str(Workspace.current().home)} | dict(os.environ)


def fill_in(text: str, environment: dict[str, str]) -> str:
    """Innermost variables first, so that a default may name another variable; values of the environment are not expanded."""
    values: list[str] = []

    def value(match: re.Match[str]) -> str:
        if found := environment.get(match["name"]):
            values.append(found)
            return f"\0{len(values) - 1}\0"
        if match["default"] is None:
            raise SettingsError(
                f"expected the environment variable {match['name']}, got it unset; set it, or give it a default in the file"
            )
        return match["default"]

    while VARIABLE.search(text):
        text = VARIABLE.sub(value, text)
    return re.sub(r"\0(\d+)\0", lambda place: values[int(place[1])], text)
