"""From a YAML file and `--set key=value` to settings, or to one clear sentence."""

import difflib
import re
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from imageloop.errors import SettingsError
from imageloop.renamed_settings import NEW_NAMES

Values = dict[str, Any]
FORMS = {  # patterns of names, in words
    r"^[\w-]+$": "letters, digits, - and _",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "small letters, digits, and - between them",
}
EXPECTED = {  # by pydantic's type of an error
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "finite_number": "a finite number",
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list, as [1, 2]"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "a group of keys"),
    "string_type": "text",
    "literal_error": "{expected}",
    "too_short": "{min_length} values or more",
    "too_long": "{max_length} values at most",
    "string_too_short": "{min_length} characters or more",
    "string_too_long": "{max_length} characters at most",
}


def load_settings[S: BaseModel](model: type[S], file: Path | Sequence[Path] | None, overrides: list[str], **preset: Any) -> S:
    """Read `file`, lay `preset` and then `overrides` (key.path=value) over it, and check the whole against `model`.

    Of several files each is laid over those before it.

    Raises: SettingsError that names each wrong key, its value, and what to write instead.
    """
    files = [] if file is None else [file] if isinstance(file, Path) else file
    values: Values = reduce(_laid_over, map(_read, files), {})
    for key, value in preset.items():
        _put(values, key.replace("__", "."), value)
    for override in overrides:
        key, sign, value = override.partition("=")
        if not sign or not key:
            raise SettingsError(f"--set: expected key.path=value, got '{override}'; write for example --set training.seed=8")
        _put(values, key.strip(), _typed(value, f"--set {key}"))
    _complete_kinds(values, model)
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        problems = [_sentence(problem, model) for problem in error.errors()]
        where = f"{files[-1]}: " if files and not overrides else ""
        raise SettingsError("\n".join(f"{where}{problem}" for problem in problems)) from None
    return model.model_validate(settings.model_dump())  # every field set: ZenML drops unset ones, a union's `kind` too


def _laid_over(below: Values, above: Values) -> Values:
    """The values of both files; where both have one, that of `above`."""
    both = {
        name: _laid_over(below[name], value)
        for name, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(name), dict)
    }
    return below | above | both


def _read(file: Path) -> Values:
    try:
        text = file.read_text()
    except OSError as error:
        raise SettingsError(f"--config: expected a YAML file, got none that can be read at '{file}' ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"--config: expected a YAML file in UTF-8, got other bytes in '{file}' ({error.reason}); save it as UTF-8"
        ) from None
    values = _parse(text, str(file))
    if not isinstance(values, dict | None):
        raise SettingsError(f"{file}: expected `key: value` lines, got {type(values).__name__}")
    return values or {}


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise SettingsError(f"{where}: expected YAML, got a mistake{line}: {getattr(error, 'problem', error)}") from None


def _typed(text: str, where: str) -> Any:
    """Lists, groups and null as YAML reads them; a word or a number as typed, since the setting knows its type."""
    value = _parse(text, where)
    return value if isinstance(value, dict | list | str | None) else text.strip()


def _put(values: Values, key_path: str, value: Any) -> None:
    *parents, key = key_path.split(".")
    for depth, parent in enumerate(parents):
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise SettingsError(
                f"--set {key_path}: expected a group of keys at '{'.'.join(parents[: depth + 1])}', got {inner!r}"
            )
        values = inner
    values[key] = value


def _complete_kinds(values: Values, model: type[BaseModel]) -> None:
    """Fill in the default `kind` of a variant, so that one key of it can be set alone."""
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
        renamed = NEW_NAMES.get(location[-1])
        if renamed in known:
            return f"{key}: has another name now: write '{renamed}'"
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known)}"
        return f"{key}: there is no such key (got {problem['input']!r}); {hint}"
    context = problem.get("ctx", {})
    if problem["type"] == "union_tag_invalid":
        close = difflib.get_close_matches(str(context["tag"]), re.findall(r"'([^']+)'", context["expected_tags"]), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        kind = context["discriminator"].strip("'")
        return f"{key}.{kind}: expected {context['expected_tags']}, got '{context['tag']}'{hint}"
    return f"{key or 'settings'}: {_expected(problem)}"


def _expected(problem: ErrorDetails) -> str:
    """What a value should be, and what it is."""
    if problem["type"] == "missing":
        return "expected a value, got none"
    context = problem.get("ctx", {})
    expected = FORMS.get(context.get("pattern", "")) or EXPECTED.get(problem["type"], "").format(**context)
    if expected:
        return f"expected {expected}, got {problem['input']!r}"
    return f"{problem['msg'].removeprefix('Value error, ')} (got {problem['input']!r})"


def _without_tags(location: list[str], model: type[BaseModel]) -> list[str]:
    """Remove the tags of tagged unions from the path: the file has no such key."""
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
        inner = field.annotation if field is not None else _variant(current, part) or current
        current = get_args(inner)[1] if get_origin(inner) is dict and field is None else inner  # the name of an entry
    return sorted(getattr(current, "model_fields", {}))


def _variant(union: Any, tag: str) -> type[BaseModel] | None:
    """The member of a tagged union whose `kind` is `tag`."""
    for member in get_args(union):
        kind = getattr(member, "model_fields", {}).get("kind")
        if kind is not None and kind.default == tag:
            found: type[BaseModel] = member
            return found
    return None
