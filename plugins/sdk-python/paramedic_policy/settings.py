"""Settings as a dataclass: a JSON Schema of it, and values read from JSON with errors that say where.

Understood are `str`, `int`, `float`, `bool`, `timedelta` (written `90s`, `5m`, `1h30m`), `Literal`, `Enum`, `Optional`, `list`, `dict` with
text keys, `Any`, and dataclasses again. Unknown keys are refused, so that a typo is not a silent default.
"""

import dataclasses
import functools
import re
import typing
from datetime import timedelta
from enum import Enum
from typing import Any, Callable, Dict, List, Literal, Type, TypeVar, Union

S = TypeVar("S")
# Makes a value of what JSON says at a place such as `settings.hosts[0]`, or raises `SettingsError`.
Reader = Callable[[Any, str], Any]

_DURATION = r"(?:[0-9]+(?:ms|s|m|h|d))+"
_A_DURATION, _PARTS = re.compile(_DURATION), re.compile(r"([0-9]+)(ms|s|m|h|d)")
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
    if not _A_DURATION.fullmatch(text):
        raise ValueError(f"`{text}` is no length of time such as 90s, 5m or 1h30m")
    total = sum(int(n) * _UNITS[unit] for n, unit in _PARTS.findall(text))
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
    return reader(settings)(value, "settings")


@functools.cache
def reader(of: Any) -> Reader:
    """What reads values of a type. To look into types takes long, so that a plugin does it once, while it is built."""
    origin, args = typing.get_origin(of), typing.get_args(of)
    if of is Any:
        return lambda value, at: value
    if of in _PLAIN:
        return functools.partial(_plain, of)
    if of is type(None):
        return _none
    if of is timedelta:
        return _duration
    if origin is Literal:
        return functools.partial(_one_of, list(args))
    if isinstance(of, type) and issubclass(of, Enum):
        words = [member.value for member in of]
        return lambda value, at: of(_one_of(words, value, at))
    if origin is list:
        return functools.partial(_list, reader(args[0]))
    if origin is dict:
        return functools.partial(_dict, reader(args[1]))
    if _is_union(origin):
        return functools.partial(_any_of, [reader(arg) for arg in args])
    hints, missing = typing.get_type_hints(of), dataclasses.MISSING
    fields = {f.name: reader(hints[f.name]) for f in dataclasses.fields(of)}
    needed = [f.name for f in dataclasses.fields(of) if f.default is missing and f.default_factory is missing]
    return functools.partial(_dataclass, of, fields, needed)


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


def _list(item: Reader, value: Any, at: str) -> Any:
    return [item(one, f"{at}[{i}]") for i, one in enumerate(_is(list, value, at, "a list"))]


def _dict(item: Reader, value: Any, at: str) -> Any:
    return {key: item(one, f"{at}.{key}") for key, one in _is(dict, value, at, "an object").items()}


def _any_of(readers: List[Reader], value: Any, at: str) -> Any:
    errors = []
    for read in readers:
        try:
            return read(value, at)
        except SettingsError as error:
            errors.append(str(error))
    # Of `Optional[int]` only the second half is worth telling.
    raise SettingsError(", or ".join(e for e in errors if not e.endswith("has to be null")))


def _dataclass(of: type, fields: Dict[str, Reader], needed: List[str], value: Any, at: str) -> Any:
    for key in _is(dict, value, at, "an object"):
        if key not in fields:
            known = ", ".join(fields) or "none at all"
            raise SettingsError(f"{at} has no key `{key}`; there are: {known}")
    for name in needed:
        if name not in value:
            raise SettingsError(f"{at} needs the key `{name}`")
    try:
        return of(**{key: fields[key](item, f"{at}.{key}") for key, item in value.items()})
    except SettingsError:
        raise
    except ValueError as error:  # what a __post_init__ has to say
        raise SettingsError(f"{at}: {error}") from None
