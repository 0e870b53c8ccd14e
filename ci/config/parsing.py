"""acso.toml to dataclasses: types, defaults, and errors that name file, line, column and key."""

import dataclasses
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, UnionType

from ci.config.agents import Agent
from ci.config.checks import check
from ci.config.environments import Environment
from ci.config.model import Config, Project
from ci.config.positions import Position, position, positions
from ci.config.problems import BadKeyError, known
from ci.errors import ConfigError

FILE = "acso.toml"
HINT = f"correct {FILE}; docs and comments in it say what each key is"
BYTE_ORDER_MARK = "\ufeff"
#: The end of a message of `tomllib`.
SYNTAX_AT = re.compile(r"(.*) \(at line (\d+), column (\d+)\)")
#: A table's name in it, as Python shows a tuple.
TABLE_NAME = re.compile(r"\(('[^']*'(?:, '[^']*')*),?\)")
#: Groups of tables whose values may come from a table of [defaults].
INHERITS = MappingProxyType({"agents": "agent", "environments": "environment"})
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def load(path: Path) -> Config:
    """Read acso.toml from its path; raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise ConfigError(message, hint="run from a checkout of the repository") from error
    except UnicodeDecodeError as error:
        message = f"{path}: not UTF-8 at byte {error.start}"
        raise ConfigError(message, hint="save it as UTF-8") from error
    return parse(text, file=str(path))


def parse(text: str, *, file: str = FILE) -> Config:
    """Turn the text of acso.toml into a `Config`; raises `ConfigError` with file, line and key."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        message = f"{file}: values are nested too deeply"
        raise ConfigError(message, hint=HINT) from None
    except ValueError as error:  # also a number of more digits than Python reads
        raise ConfigError(_syntax(file, str(error)), hint=HINT) from error
    try:
        return _config(data)
    except BadKeyError as error:
        where = _origin(error.where, data)
        at = position(positions(text), where)
        message = f"{_place(file, at)}: {where}: {error.what}"
        raise ConfigError(message, hint=HINT) from None


def _syntax(file: str, problem: str) -> str:
    """Return a message of `tomllib` with the place as the other messages have it."""
    found = SYNTAX_AT.fullmatch(problem)
    if found is None:
        return f"{file}: {problem}"
    at = Position(line=int(found[2]), column=int(found[3]))
    what = TABLE_NAME.sub(_table_name, found[1])
    return f"{_place(file, at)}: {what}"


def _table_name(found: re.Match[str]) -> str:
    return "[" + ".".join(name.strip("'") for name in found[1].split(", ")) + "]"


def _place(file: str, at: Position | None) -> str:
    return f"{file}:{at.line}:{at.column}" if at else file


def _origin(where: str, data: dict[str, typing.Any]) -> str:
    """Return where a value is written: in the defaults, unless the table has it itself."""
    group, _, rest = where.partition(".")
    name, _, key = rest.partition(".")
    if group not in INHERITS or not key:
        return where
    path = key.partition("[")[0].split(".")  # without the number of a list's item
    defaults = data.get("defaults", {}).get(INHERITS[group], {})
    own = data[group].get(name, {})
    inherited = _has(defaults, path) and not _has(own, path)
    return f"defaults.{INHERITS[group]}.{key}" if inherited else where


def _has(table: typing.Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(table, dict) or key not in table:
            return False
        table = table[key]
    return True


def _config(data: dict[str, typing.Any]) -> Config:
    known("", data, {"project", "defaults", "agents", "environments"})
    defaults = _table(data, "defaults")
    known("defaults", defaults, {"agent", "environment"})
    agent_defaults = _table(defaults, "agent", "defaults.")
    environment_defaults = _table(defaults, "environment", "defaults.")
    # Checked first: an unknown key in the defaults must not be reported for each agent.
    known("defaults.agent", agent_defaults, _fields(Agent) - {"name"})
    known("defaults.environment", environment_defaults, _fields(Environment) - {"name"})
    agents = tuple(
        _build(Agent, f"agents.{name}", _merged(agent_defaults, _named(data, "agents", name)))
        for name in _table(data, "agents")
    )
    environments = {
        name: _build(
            Environment,
            f"environments.{name}",
            _merged(environment_defaults, _named(data, "environments", name)),
        )
        for name in _table(data, "environments")
    }
    config = Config(
        project=_build(Project, "project", _table(data, "project")),
        agents=agents,
        environments=MappingProxyType(environments),
    )
    check(config)
    return config


def _table(data: dict[str, typing.Any], key: str, prefix: str = "") -> dict[str, typing.Any]:
    value = data.get(key)
    if value is None:
        raise BadKeyError(prefix + key, "missing table")
    if not isinstance(value, dict):
        raise BadKeyError(prefix + key, f"must be a table, not {_name_of(type(value))}")
    return value


def _named(data: dict[str, typing.Any], group: str, name: str) -> dict[str, typing.Any]:
    if not NAME.fullmatch(name):
        raise BadKeyError(f"{group}.{name}", "names are lower-case words joined by '-'")
    return {**_table(data[group], name, f"{group}."), "name": name}


def _merged(defaults: dict[str, typing.Any], own: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """Return a table with its defaults, and the tables in it with theirs."""
    both = {
        key: _merged(defaults[key], value)
        for key, value in own.items()
        if isinstance(value, dict) and isinstance(defaults.get(key), dict)
    }
    return {**defaults, **own, **both}


def _fields(cls: type) -> set[str]:
    return {item.name for item in dataclasses.fields(cls)}


T = typing.TypeVar("T")


def _build(cls: type[T], where: str, data: dict[str, typing.Any]) -> T:
    known(where, data, _fields(cls))
    types = typing.get_type_hints(cls)
    values: dict[str, typing.Any] = {}
    for item in dataclasses.fields(typing.cast("typing.Any", cls)):
        key = f"{where}.{item.name}"
        if item.name in data:
            values[item.name] = _value(types[item.name], key, data[item.name])
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise BadKeyError(key, f"missing value ({_name_of(types[item.name])})")
    return cls(**values)


def _value(kind: typing.Any, key: str, value: typing.Any) -> typing.Any:
    if isinstance(kind, UnionType):  # `X | None`: absent, or an X
        kind = next(item for item in typing.get_args(kind) if item is not type(None))
    if kind in (bool, int, str) and type(value) is kind:
        return value
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_value(str, f"{key}[{n}]", item) for n, item in enumerate(value))
    if typing.get_origin(kind) is Mapping and isinstance(value, dict):
        of = typing.get_args(kind)[1]
        return MappingProxyType(
            {name: _value(of, f"{key}.{name}", item) for name, item in value.items()}
        )
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _build(typing.cast("type[typing.Any]", kind), key, value)
    raise BadKeyError(key, f"must be {_name_of(kind)}, not {_name_of(type(value))}")


def _name_of(kind: typing.Any) -> str:
    names = {int: "a whole number", str: "a text", bool: "true or false", dict: "a table"}
    if isinstance(kind, UnionType):
        kind = typing.get_args(kind)[0]
    if kind in names:
        return names[kind]
    if dataclasses.is_dataclass(kind) or typing.get_origin(kind) is Mapping:
        return "a table"
    return "a list of texts" if typing.get_origin(kind) is tuple else "a " + str(kind.__name__)
