"""Turning nested tables into attrs classes without guessing: types are exact, unknown keys are mistakes.

`mgate.config` makes one converter with `strict_converter` and spells what failed with `mistakes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from mgate.settings import Path, numbered

__all__ = ["mistakes", "nearest", "strict_converter"]

NAMES = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", dict: "a table"}


Check = Callable[[dict[str, Any]], Iterator[tuple[Path, str]]]


def strict_converter(
    tables: Mapping[type, Check | None], hooks: Mapping[type, Callable[[Any], Any]], later: Sequence[str] = ()
) -> cattrs.Converter:
    """Make a converter for `tables`, each an attrs or data class.

    Args:
        tables: the inner ones first, each with what checks its raw values, so that one mistake does not hide another.
        hooks: how values of a type are made out of raw ones; raises ValueError or TypeError with what to write.
        later: keys that a later version will know.
    """
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    for plain in (int, float, str, bool):
        converter.register_structure_hook(plain, _exactly(plain))
    converter.register_structure_hook_func(_is_choice, _choice)
    converter.register_structure_hook_func(_is_list, partial(_list, converter))
    for kind, hook in hooks.items():
        converter.register_structure_hook(kind, _without_kind(hook))
    for table, check in tables.items():
        inner: Callable[[Any, Any], Any] = make_dict_structure_fn(
            table, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
        )
        converter.register_structure_hook(table, _table(inner, check, later))
    return converter


def nearest(word: str, known: Sequence[str]) -> str:
    """`` (did you mean ...?)`` for a misspelt word, or nothing."""
    found = get_close_matches(word, known, 1, 0.6)
    return f" (did you mean {found[0]}?)" if found else ""


def mistakes(error: Exception, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Walk what the converter raised; yields the path of each mistake, and what is wrong there."""
    if isinstance(error, ClassValidationError):
        noted, plain = error.group_exceptions()
        for inner, note in noted:
            yield from mistakes(inner, (*path, note.name))
        for inner in plain:
            yield from mistakes(inner, path)
    elif isinstance(error, IterableValidationError):
        items, rest = error.group_exceptions()
        for inner, item in items:
            yield from mistakes(inner, (*path, str(item.index)))
        for inner in rest:
            yield from mistakes(inner, path)
    elif isinstance(error, _Found):
        for inner_path, message in error.found:
            yield (*path, *inner_path), message
    elif isinstance(error, ForbiddenExtraKeysError):
        for key in sorted(error.extra_fields):
            yield (*path, key), f"unknown key{nearest(key, _keys(error.cl))}"
    elif isinstance(error, KeyError):
        yield path, "missing"
    else:
        yield path, str(error)


class _Found(Exception):  # noqa: N818
    """Carries mistakes through cattrs, which collects exceptions."""

    def __init__(self, found: list[tuple[Path, str]]) -> None:
        super().__init__(found)
        self.found = found


def _keys(table: type) -> list[str]:
    if is_dataclass(table):
        return list(table.__dataclass_fields__)
    return [field.name for field in attrs.fields(table)]


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    """No value is coerced: neither "12" to 12, nor true to 1; only a whole number may stand for a number."""

    def structure(value: Any, _: Any) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise TypeError(f"must be {NAMES[kind]}, not {NAMES.get(type(value), 'a list')}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("must be finite")
        return value

    return structure


def _without_kind(hook: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, kind: hook(value)


def _is_choice(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _choice(value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    if not isinstance(value, str) or value not in choices:
        hint = nearest(value, choices) if isinstance(value, str) else ""
        raise ValueError(f"must be one of {', '.join(choices)}{hint}")
    return value


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _list(converter: cattrs.Converter, values: Any, kind: Any) -> tuple[Any, ...]:
    """``tuple[X, ...]``: a list, each item of which is made on its own, so that all mistakes are found."""
    if not isinstance(values, list):
        raise TypeError("must be a list")
    made: list[Any] = []
    found: list[tuple[Path, str]] = []
    for number, value in enumerate(values, 1):
        try:
            made.append(converter.structure(value, get_args(kind)[0]))
        except (ClassValidationError, TypeError, ValueError) as error:
            found += mistakes(error, (numbered(number),))
    if found:
        raise _Found(found)
    return tuple(made)


def _table(
    inner: Callable[[Any, Any], Any], check: Check | None, later: Sequence[str]
) -> Callable[[Any, Any], Any]:
    """Check that it is a table at all, and tell keys that come later from misspelt ones."""

    def structure(value: Any, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError("must be a table")
        found: list[tuple[Path, str]] = [
            ((key,), "is not available in this version") for key in value if key in later
        ]
        if check is not None:
            found += check(value)
        errors: list[Exception] = [_Found(found)] if found else []
        try:
            made = inner({key: item for key, item in value.items() if key not in later}, kind)
        except ClassValidationError as error:
            errors.append(error)
        if errors:
            raise ClassValidationError(f"in {kind.__name__}", errors, kind)
        return made

    return structure
