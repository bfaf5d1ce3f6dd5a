"""From JSON to the dataclasses of a manifest, every value checked."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from .errors import ManifestError

_JSON_NAMES = {int: "a whole number", str: "a text", bool: "true or false", dict: "an object", list: "a list"}


def decode(cls: Any, data: Mapping[str, Any]) -> Any:
    """A dataclass from a JSON object, every field checked against its annotation.

    Args:
        cls: a dataclass of whole and finite numbers, texts, truth values, literals, mappings, three-number tuples,
            tuples of one type, other such dataclasses, and each of these or None.
        data: the object.

    Raises:
        ManifestError: a field is missing, unknown or of the wrong type.
    """
    known = {item.name: item for item in dataclasses.fields(cls)}
    if unknown := sorted(data.keys() - known.keys()):
        raise ManifestError(f"unknown field {unknown[0]!r}")
    for name, item in known.items():
        optional = item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
        if name not in data and not optional:
            raise ManifestError(f"field {name!r} is missing")
    return cls(**{name: _decode_value(name, known[name].type, value) for name, value in data.items()})


def _decode_value(name: str, kind: Any, value: Any) -> Any:
    origin, options = get_origin(kind), get_args(kind)
    if kind in (int, str, bool):
        return _expect(name, value, kind)
    if kind is float:
        return _finite(name, value)
    if dataclasses.is_dataclass(kind):
        return decode(kind, _expect(name, value, dict))
    if origin is Literal:
        # The type too, because `true` equals 1.
        if not any(type(value) is type(option) and value == option for option in options):
            raise ManifestError(f"{name} is {value!r}; expected {' or '.join(map(repr, options))}")
        return value
    if origin is Mapping:
        return {
            key: _decode_value(f"{name} of {key!r}", options[1], v) for key, v in _expect(name, value, dict).items()
        }
    if origin is tuple:
        return _decode_rgb(name, value) if ... not in options else _decode_items(name, options[0], value)
    # What is left is `X | None`.
    return None if value is None else _decode_value(name, options[0], value)


def _decode_items(name: str, kind: Any, value: Any) -> tuple[Any, ...]:
    items = enumerate(_expect(name, value, list))
    return tuple(_decode_value(f"{name}[{index}]", kind, item) for index, item in items)


def _finite(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ManifestError(f"{name} is {value!r}; expected a finite number")
    return float(value)


def _decode_rgb(name: str, value: Any) -> tuple[float, float, float]:
    numbers = _expect(name, value, list)
    if len(numbers) != 3 or not all(type(n) in (int, float) and math.isfinite(n) for n in numbers):
        raise ManifestError(f"{name} is {value!r}; expected three finite numbers")
    red, green, blue = (float(number) for number in numbers)
    return red, green, blue


def _expect(name: str, value: Any, kind: type) -> Any:
    # bool is a subclass of int, and `true` is no number.
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ManifestError(f"{name} is {value!r}; expected {_JSON_NAMES[kind]}")
    return value
