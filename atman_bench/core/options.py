"""Options: frozen dataclasses whose annotations are the schema, built from YAML, flags and keyword arguments.

``build`` turns any mapping into any config dataclass of the project.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from textwrap import shorten
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, to_json

from atman_bench.core.errors import AtmanBenchError, ConfigError, UnknownNameError
from atman_bench.core.texts import parse_yaml


def _presets() -> Path:
    package = Path(__file__).parents[1]
    # setup.py puts the checkout's configs/ inside the package where it is installed from a wheel.
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


PRESETS = _presets()
"""Where ``--config NAME`` is looked up after the path NAME itself."""

Config = TypeVar("Config")


def build(config_type: type[Config], mapping: Mapping[str, Any], where: str = "") -> Config:
    """Make a config dataclass from a mapping, checking every key and value against its annotations.

    An ``int`` is accepted for a ``float``, a list for a ``tuple``, and an enum's value for an enum.

    Args:
        config_type: A dataclass.
        mapping: Values of some or all of its fields.
        where: What messages call the place that the mapping came from (``methods.atman``); empty for the top.

    Raises:
        UnknownNameError: A key that is no field, or a value that is not among those of an enum.
        ConfigError: A value of the wrong type, or a missing field without a default.
    """
    hints = get_type_hints(config_type)
    values = {key: _from_text(value, hints.get(key)) for key, value in mapping.items()}
    # Strict validation of Python objects refuses a list for a tuple; that of JSON, whose types are YAML's, does not.
    written = to_json(values, inf_nan_mode="strings", fallback=lambda value: {"object": repr(value)})
    validator = _validator(config_type)  # type: ignore[arg-type]  # mypy: a class of a type variable is not hashable
    try:
        built: Config = validator.validate_json(written, strict=True, extra="forbid")
    except ValidationError as error:
        # A misspelt key explains a missing one.
        found = min(error.errors(), key=lambda detail: detail["type"] != "unexpected_keyword_argument")
        raise _refusal(found, config_type, where) from None
    return built


@dataclass(frozen=True)
class Option:
    """One option of a config dataclass, for ``atman-bench list``."""

    name: str
    type: str
    default: str
    doc: str


def options_of(config_type: type[Any]) -> tuple[Option, ...]:
    """The options of a config dataclass, documented by the ``Attributes:`` sections of it and what it extends."""
    docs: dict[str, str] = {}
    for base in reversed(config_type.__mro__):
        docs |= _attribute_docs(base.__doc__ or "")
    hints = get_type_hints(config_type)
    return tuple(
        Option(f.name, _type_name(hints[f.name]), _default_text(f.default), docs.get(f.name, ""))
        for f in fields(config_type)
        if f.init
    )


@cache
def _validator(config_type: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(config_type)


def _from_text(value: Any, expected: Any) -> Any:
    """What text stands for where no text is expected."""
    members = get_args(expected) or (expected,)
    if not isinstance(value, str) or str in members:
        return value
    # YAML's word is null, but Python's and the tables' is None.
    if NoneType in members and value.lower() == "none":
        return None
    if float in members:
        with suppress(ValueError):
            return float(value)  # YAML 1.1 reads 1e-3, without a dot, as text
    return value


def _refusal(found: ErrorDetails, expected: Any, where: str) -> AtmanBenchError:
    """What pydantic found wrong with a value of a config dataclass, as an error that names its place."""
    kind, path = found["type"], list(found["loc"])
    named = str(path.pop()) if kind in ("unexpected_keyword_argument", "missing") else ""
    for step in path:
        expected = _type_at(expected, step)
        where += f"[{step}]" if isinstance(step, int) else f".{step}" if where else step
    match kind:
        case "unexpected_keyword_argument":
            valid = [f.name for f in fields(expected) if f.init]
            return UnknownNameError(f"option of {where}" if where else "option", named, valid)
        case "missing":
            return ConfigError(f"{where or 'the configuration'} needs a value for {named}")
        case "enum":
            return UnknownNameError(f"value of {where}", str(found["input"]), _type_name(_given(expected)).split(" | "))
        case _:
            example = "; write it as [a, b]" if kind == "tuple_type" else ""
            return ConfigError(f"{where} must be {_type_name(expected)}, received {found['input']!r}{example}")


def _given(expected: Any) -> Any:
    """``X`` of ``X | None``."""
    if get_origin(expected) not in (Union, UnionType):
        return expected
    return next(member for member in get_args(expected) if member is not NoneType)


def _type_at(expected: Any, step: str | int) -> Any:
    """The annotation of a dataclass's field, or of an item of a list or mapping."""
    expected = _given(expected)
    if is_dataclass(expected):
        return get_type_hints(expected)[str(step)]
    return get_args(expected)[get_origin(expected) is not tuple]


def _type_name(expected: Any) -> str:
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, UnionType):
        return " or ".join(_type_name(a) for a in sorted(arguments, key=lambda a: a is NoneType))
    if origin is tuple:
        return f"a list, each {_type_name(arguments[0])}"
    if expected is NoneType:
        return "null"
    if isinstance(expected, type) and issubclass(expected, Enum):
        return " | ".join(str(e.value) for e in expected)
    return {str: "text", int: "an integer", float: "a number", bool: "true or false", Path: "a path"}.get(
        expected, getattr(expected, "__name__", str(expected))
    )


def _default_text(default: Any) -> str:
    if default is MISSING:
        return ""
    if default is None:
        return "null"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _attribute_docs(docstring: str) -> dict[str, str]:
    """``name -> text`` of a Google docstring's ``Attributes:`` section, continuation lines joined."""
    docs: dict[str, str] = {}
    _, _, section = docstring.partition("Attributes:\n")
    name = None
    for line in section.splitlines():
        entry = re.match(r"^ {4,8}(\w+)(?: \([^)]*\))?: (.*)$", line)
        if entry:
            name, docs[entry[1]] = entry[1], entry[2]
        elif not line.strip():
            break
        elif name is not None:
            docs[name] += " " + line.strip()
    return docs


def read_yaml(preset: str, presets: Path = PRESETS) -> dict[str, Any]:
    """What a configuration file says, unchecked.

    Args:
        preset: Path of a YAML file, or name of a preset.
        presets: Folder of the presets.

    Raises:
        UnknownNameError: No preset of that name.
        ConfigError: The file is missing or malformed.
    """
    path = Path(preset)
    if not path.is_file():
        path = presets / f"{preset}.yaml"
    if not path.is_file():
        if Path(preset).suffix:
            raise ConfigError(f"no configuration file {preset}")
        raise UnknownNameError("preset", preset, (p.stem for p in presets.glob("*.yaml")))
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold options as 'name: value', received {type(tree).__name__}")
    return tree


def read_assignment(flag: str, text: str, example: str) -> tuple[str, Any]:
    """One ``NAME=VALUE`` of a repeatable flag, the value read as YAML.

    Raises:
        ConfigError: It is no such pair, or the value is empty or no YAML.
    """
    name, _, written = text.partition("=")
    if not name or not written.strip():
        raise ConfigError(f"{flag} takes NAME=VALUE ({example}; null for none), received {text!r}")
    try:
        return name, parse_yaml(written)
    except ValueError as error:
        raise ConfigError(f"{flag} {name}: {shorten(written, 80)!r} is not a valid YAML value ({error})") from error


def check_once(flag: str, names: Sequence[str]) -> None:
    """Refuse a name that a repeatable flag gives two values.

    Raises:
        ConfigError: One is there twice.
    """
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{flag} gives {twice} twice: which value is meant? Give it once")


ADDED_LATER = {"identity": "changed"}
"""Marks an option that is newer than stored results: at its default it is no part of their fingerprint."""

MOST = 1_000_000
"""What an option that counts something may be at the most: more fills the memory, or takes days, in silence."""


def check_count(name: str, value: int | None, least: int = 1, most: int = MOST) -> None:
    """Refuse a number of samples, steps or tokens that is too small, or too large to begin with.

    Raises:
        ConfigError: It is; the message says the limit.
    """
    if value is not None and value < least:
        raise ConfigError(f"{name} must be at least {least}, received {value}")
    if value is not None and value > most:
        raise ConfigError(f"{name} must be at most {most:,}, received {value}")


def canonical(name: str) -> str:
    """``integrated-gradients:abs-mean`` -> ``integrated_gradients:abs-mean``: a variant's name is left alone."""
    name, colon, variant = name.partition(":")
    return name.replace("-", "_") + colon + variant


def identity_options(config: Any) -> dict[str, Any]:
    """The resolved options of a config dataclass that can change a map.

    Options that cannot (an engine, a batch size) carry ``field(metadata={"identity": False})``. Options that a later
    version adds carry ``{"identity": "changed"}``: they count where they differ from their default, so that what was
    stored before they existed keeps its fingerprint. Options that name a place carry a function, which gives what
    counts instead (the content of a folder).
    """
    options = {}
    for f in fields(config):
        rule, value = f.metadata.get("identity", True), getattr(config, f.name)
        if rule is False or (rule == "changed" and value == f.default):
            continue
        options[f.name] = _plain(rule(value) if callable(rule) else value)
    return options


def _plain(value: Any) -> Any:
    """As JSON would give it back, so that a fingerprint does not depend on tuple against list."""
    return json.loads(json.dumps(value, default=str))
