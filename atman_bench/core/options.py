"""Options: frozen dataclasses whose annotations are the schema, built from YAML, flags and keyword arguments.

``build`` turns any mapping into any config dataclass of the project.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from atman_bench.core.errors import ConfigError, UnknownNameError


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
        UnknownNameError: A key that is no field.
        ConfigError: A value of the wrong type, or a missing field without a default.
    """
    accepted = {f.name: f for f in fields(config_type) if f.init}  # type: ignore[arg-type]  # a dataclass by contract
    hints = get_type_hints(config_type)
    values = {}
    for key, value in mapping.items():
        if key not in accepted:
            raise UnknownNameError(f"option of {where}" if where else "option", str(key), accepted)
        values[key] = _coerce(value, hints[key], f"{where}.{key}" if where else key)
    missing = [n for n, f in accepted.items() if n not in values and f.default is f.default_factory is MISSING]
    if missing:
        raise ConfigError(f"{where or 'the configuration'} needs a value for {', '.join(missing)}")
    return config_type(**values)


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


def _coerce(value: Any, expected: Any, where: str) -> Any:
    """Return ``value`` as ``expected``, or raise ConfigError naming ``where``."""
    origin, arguments = get_origin(expected), get_args(expected)
    mismatch = ConfigError(f"{where} must be {_type_name(expected)}, received {value!r}")
    if expected is Any:
        return value
    if origin in (Union, UnionType):
        return _coerce_union(value, arguments, where, mismatch)
    if origin is Literal:
        if value not in arguments:
            raise UnknownNameError(f"value of {where}", str(value), map(str, arguments))
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{mismatch}; write it as [a, b]")
        return tuple(_coerce(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (Mapping, dict) or expected is dict:
        if not isinstance(value, Mapping):
            raise mismatch
        return {str(k): _coerce(v, arguments[1] if arguments else Any, f"{where}.{k}") for k, v in value.items()}
    if is_dataclass(expected):
        if not isinstance(value, Mapping):
            raise mismatch
        return build(expected, value, where)  # type: ignore[arg-type]  # is_dataclass cannot tell class from instance
    if isinstance(expected, type) and issubclass(expected, Enum):
        try:
            return expected(value)
        except ValueError:
            raise UnknownNameError(f"value of {where}", str(value), (str(e.value) for e in expected)) from None
    if expected is Path and isinstance(value, str | Path):
        return Path(value)
    if expected is float:
        return _coerce_float(value, mismatch)
    # bool is a subclass of int, and no option means 1 when it says true.
    if isinstance(value, bool) != (expected is bool) or not isinstance(value, expected):
        raise mismatch
    return value


def _coerce_union(value: Any, members: tuple[Any, ...], where: str, mismatch: ConfigError) -> Any:
    others = [member for member in members if member is not NoneType]
    # YAML's word is null, but Python's and the tables' is None; where text is allowed it may be meant as text.
    null = value is None or (isinstance(value, str) and value.lower() == "none" and str not in others)
    if null and NoneType in members:
        return None
    if len(others) == 1:
        try:
            return _coerce(value, others[0], where)
        except UnknownNameError:
            raise
        except ConfigError:
            raise mismatch from None
    for member in others:
        try:
            return _coerce(value, member, where)
        except (ConfigError, UnknownNameError):
            continue
    raise mismatch


def _coerce_float(value: Any, mismatch: ConfigError) -> float:
    # YAML 1.1 reads 1e-3, without a dot, as text.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise mismatch
    try:
        number = float(value)
    except ValueError:
        raise mismatch from None
    if not math.isfinite(number):
        raise mismatch
    return number


def _type_name(expected: Any) -> str:
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in (Union, UnionType):
        return " or ".join(_type_name(a) for a in sorted(arguments, key=lambda a: a is NoneType))
    if origin is Literal:
        return " | ".join(map(str, arguments))
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
        tree = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold options as 'name: value', received {type(tree).__name__}")
    return tree


def canonical(name: str) -> str:
    """``integrated-gradients:abs-mean`` -> ``integrated_gradients:abs-mean``: a variant's name is left alone."""
    name, colon, variant = name.partition(":")
    return name.replace("-", "_") + colon + variant


def identity_options(config: Any) -> dict[str, Any]:
    """The resolved options of a config dataclass that can change a map.

    Options that cannot (an engine, a batch size) carry ``field(metadata={"identity": False})``. Options that a later
    version adds carry ``{"identity": "changed"}``: they count where they differ from their default, so that what was
    stored before they existed keeps its fingerprint.
    """
    return {
        f.name: _plain(getattr(config, f.name))
        for f in fields(config)
        if (rule := f.metadata.get("identity", True)) is True
        or (rule == "changed" and getattr(config, f.name) != f.default)
    }


def _plain(value: Any) -> Any:
    """As JSON would give it back, so that a fingerprint does not depend on tuple against list."""
    return json.loads(json.dumps(value, default=str))
