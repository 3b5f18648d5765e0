"""Settings as a dataclass: a JSON Schema of it, and values read from JSON with errors that say where.

Understood are `str`, `int`, `float`, `bool`, `timedelta` (written `90s`, `5m`, `1h30m`), `Literal`, `Enum`, `Optional`, `list`, `dict` with
text keys, `Any`, and dataclasses again. Unknown keys are refused, so that a typo is not a silent default.
"""

import dataclasses
import re
import typing
from datetime import timedelta
from enum import Enum
from typing import Any, Dict, Literal, Type, TypeVar, Union

S = TypeVar("S")

_DURATION = r"(?:[0-9]+(?:ms|s|m|h|d))+"
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_MS = 3650 * 86_400_000
_PLAIN = {str: ("string", "text"), bool: ("boolean", "true or false"), int: ("integer", "a whole number"), float: ("number", "a number")}


class SettingsError(ValueError):
    """Settings that do not fit; the text says where and what was expected."""


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """Settings of a policy that takes none."""


def setting(default: Any = dataclasses.MISSING, help: str = "", *, factory: Any = dataclasses.MISSING, **schema: Any) -> Any:
    """A field with a description and further keywords of its JSON Schema: `minimum`, `maximum`, `minLength`, `pattern`, ..."""
    metadata = {"schema": {**({"description": help} if help else {}), **schema}}
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse_duration(text: str) -> timedelta:
    """`1h30m` as a length of time. Raises `ValueError`."""
    if not re.fullmatch(_DURATION, text):
        raise ValueError(f"`{text}` is no length of time such as 90s, 5m or 1h30m")
    total = sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"([0-9]+)(ms|s|m|h|d)", text))
    if total > _LONGEST_MS:
        raise ValueError(f"`{text}` is longer than ten years")
    return timedelta(milliseconds=total)


def schema(settings: type) -> Dict[str, Any]:
    """The JSON Schema of a dataclass."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_schema(settings)}


def _schema(of: Any) -> Dict[str, Any]:
    origin, args = typing.get_origin(of), typing.get_args(of)
    if of is Any:
        return {}
    if of in _PLAIN:
        return {"type": _PLAIN[of][0]}
    if of is type(None):
        return {"type": "null"}
    if of is timedelta:
        return {"type": "string", "pattern": f"^{_DURATION}$"}
    if origin is Literal:
        return {"enum": list(args)}
    if isinstance(of, type) and issubclass(of, Enum):
        return {"enum": [member.value for member in of]}
    if origin is list:
        return {"type": "array", "items": _schema(args[0])}
    if origin is dict and args[0] is str:
        return {"type": "object", "additionalProperties": _schema(args[1])}
    if _is_union(origin):
        return {"anyOf": [_schema(arg) for arg in args]}
    if dataclasses.is_dataclass(of):
        return _object(of)
    raise TypeError(f"settings cannot have the type {of!r}; see the list in paramedic_policy.settings")


def _object(of: type) -> Dict[str, Any]:
    hints, properties, required = typing.get_type_hints(of), {}, []
    for f in dataclasses.fields(of):
        properties[f.name] = {**_schema(hints[f.name]), **f.metadata.get("schema", {})}
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            required.append(f.name)
    made: Dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**made, "required": required} if required else made


def parse(settings: Type[S], value: Any) -> S:
    """The settings that a JSON value says. Raises `SettingsError`."""
    return _parse(settings, value, "settings")


def _parse(of: Any, value: Any, at: str) -> Any:
    origin, args = typing.get_origin(of), typing.get_args(of)
    if of is Any:
        return value
    if of in _PLAIN:
        return _plain(of, value, at)
    if of is type(None):
        return _none(value, at)
    if of is timedelta:
        return _duration(value, at)
    if origin is Literal:
        return _one_of(list(args), value, at)
    if isinstance(of, type) and issubclass(of, Enum):
        return of(_one_of([member.value for member in of], value, at))
    if origin is list:
        return [_parse(args[0], item, f"{at}[{i}]") for i, item in enumerate(_is(list, value, at, "a list"))]
    if origin is dict:
        return {key: _parse(args[1], item, f"{at}.{key}") for key, item in _is(dict, value, at, "an object").items()}
    if _is_union(origin):
        return _any_of(args, value, at)
    return _dataclass(of, _is(dict, value, at, "an object"), at)


def _is_union(origin: Any) -> bool:
    return origin is Union or getattr(origin, "__name__", "") == "UnionType"


def _is(kind: type, value: Any, at: str, said: str) -> Any:
    if not isinstance(value, kind):
        raise SettingsError(f"{at} has to be {said}")
    return value


def _plain(of: type, value: Any, at: str) -> Any:
    # JSON has one kind of number, and True is an int in Python only.
    whole = isinstance(value, float) and of is int and value.is_integer()
    fits = isinstance(value, (int, float)) if of is float else isinstance(value, of) or whole
    if not fits or (isinstance(value, bool) and of is not bool):
        raise SettingsError(f"{at} has to be {_PLAIN[of][1]}")
    return of(value)


def _none(value: Any, at: str) -> None:
    if value is not None:
        raise SettingsError(f"{at} has to be null")


def _duration(value: Any, at: str) -> timedelta:
    try:
        return parse_duration(_is(str, value, at, "a length of time such as 90s or 5m"))
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"{at}: {error}") from None


def _one_of(words: list, value: Any, at: str) -> Any:
    if not any(type(word) is type(value) and word == value for word in words):
        raise SettingsError(f"{at} has to be one of {', '.join(map(str, words))}")
    return value


def _any_of(args: Any, value: Any, at: str) -> Any:
    errors = []
    for arg in args:
        try:
            return _parse(arg, value, at)
        except SettingsError as error:
            errors.append(str(error))
    # Of `Optional[int]` only the second half is worth telling.
    raise SettingsError(", or ".join(e for e in errors if not e.endswith("has to be null")))


def _dataclass(of: type, value: Dict[str, Any], at: str) -> Any:
    hints, fields = typing.get_type_hints(of), {f.name: f for f in dataclasses.fields(of)}
    for key in value:
        if key not in fields:
            known = ", ".join(fields) or "none at all"
            raise SettingsError(f"{at} has no key `{key}`; there are: {known}")
    for name, f in fields.items():
        if name not in value and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise SettingsError(f"{at} needs the key `{name}`")
    try:
        return of(**{key: _parse(hints[key], item, f"{at}.{key}") for key, item in value.items()})
    except SettingsError:
        raise
    except ValueError as error:  # what a __post_init__ has to say
        raise SettingsError(f"{at}: {error}") from None
