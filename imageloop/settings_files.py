"""From a YAML file and `--set key=value` to settings, or to one clear sentence."""

import difflib
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from imageloop.errors import SettingsError

Values = dict[str, Any]


def load_settings[S: BaseModel](model: type[S], file: Path | None, overrides: list[str], **preset: Any) -> S:
    """Read `file`, lay `preset` and then `overrides` (key.path=value) over it, and check the whole against `model`.

    Raises: SettingsError that names each wrong key, what was found there and what to write instead.
    """
    values = _read(file) if file else {}
    for key, value in preset.items():
        _put(values, key.replace("__", "."), value)
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign or not key:
            raise SettingsError(f"--set: wanted key.path=value, found '{override}'; write for example --set training.seed=8")
        _put(values, key.strip(), _typed(value, f"--set {key}"))
    _complete_kinds(values, model)
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        problems = [_sentence(problem, model) for problem in error.errors()]
        where = f"{file}: " if file and not overrides else ""
        raise SettingsError("\n".join(f"{where}{problem}" for problem in problems)) from None
    return model.model_validate(settings.model_dump())  # every field set: ZenML drops unset ones, a union's `kind` too


def _read(file: Path) -> Values:
    try:
        text = file.read_text()
    except OSError as error:
        raise SettingsError(f"--config: wanted a YAML file, found none that can be read at '{file}' ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"--config: wanted a YAML file in UTF-8, found other bytes in '{file}' ({error.reason}); save it as UTF-8"
        ) from None
    values = _parse(text, str(file))
    if not isinstance(values, dict | None):
        raise SettingsError(f"{file}: wanted `key: value` lines, found {type(values).__name__}")
    return values or {}


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{where}: wanted YAML, found a mistake{line}: {getattr(error, 'problem', error)}") from None


def _typed(text: str, where: str) -> Any:
    """Lists, groups and nothing as YAML has them; a word or a number as it was typed, for the setting knows whether it is one."""
    value = _parse(text, where)
    return value if isinstance(value, dict | list | str | None) else text.strip()


def _put(values: Values, key_path: str, value: Any) -> None:
    *parents, key = key_path.split(".")
    for depth, parent in enumerate(parents):
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise SettingsError(
                f"--set {key_path}: wanted a group of keys at '{'.'.join(parents[: depth + 1])}', found {inner!r}"
            )
        values = inner
    values[key] = value


def _complete_kinds(values: Values, model: type[BaseModel]) -> None:
    """A variant whose `kind` is not said is the default one, so that one key of it can be set alone."""
    for name, field in model.model_fields.items():
        inner = values.get(name)
        if not isinstance(inner, dict):
            continue
        chosen = field.default if isinstance(field.default, BaseModel) else None
        if chosen is not None and "kind" in type(chosen).model_fields:
            inner.setdefault("kind", chosen.kind)  # type: ignore[attr-defined]
        variant = _variant(field.annotation, str(inner.get("kind"))) or (type(chosen) if chosen is not None else None)
        if variant is not None:
            _complete_kinds(inner, variant)


def _sentence(problem: ErrorDetails, model: type[BaseModel]) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(_without_tags(location, model))
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(location, model)
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known)}"
        return f"{key}: there is no such key (found {problem['input']!r}); {hint}"
    return f"{key or 'settings'}: {problem['msg'].removeprefix('Value error, ')} (found {problem['input']!r})"


def _without_tags(location: list[str], model: type[BaseModel]) -> list[str]:
    """A tagged union puts its tag into the path; the file has no such level."""
    parts: list[str] = []
    current: Any = model
    for part in location:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None and parts and _variant(current, part) is not None:
            current = _variant(current, part)
            continue
        parts.append(part)
        current = field.annotation if field is not None else current
    return parts


def _keys_beside(location: list[str], model: type[BaseModel]) -> list[str]:
    current: Any = model
    for part in location[:-1]:
        field = getattr(current, "model_fields", {}).get(part)
        current = field.annotation if field is not None else _variant(current, part) or current
    return sorted(getattr(current, "model_fields", {}))


def _variant(union: Any, tag: str) -> type[BaseModel] | None:
    """The member of a tagged union whose `kind` is `tag`."""
    for member in get_args(union):
        kind = getattr(member, "model_fields", {}).get("kind")
        if kind is not None and kind.default == tag:
            found: type[BaseModel] = member
            return found
    return None
