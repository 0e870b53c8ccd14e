"""Describe the functions of `Acso` for the command line, without importing them at each start.

Importing the Dagger client takes most of a second, too long for `--help`. So the description, which
is made from the functions' signatures and docstrings, is cached by a hash of its source files.
"""

import dataclasses
import enum
import hashlib
import inspect
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path

Kind = typing.Literal["text", "number", "flag", "choice", "texts", "secret", "directory", "file"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One argument of a function. `default` is also None if there is no default."""

    name: str
    doc: str
    kind: Kind
    required: bool
    default: str | int | bool | None = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The argument as `dagger call` spells it."""
        return "--" + self.name.strip("_").replace("_", "-")

    @property
    def metavar(self) -> str:
        """The name of its value in help texts."""
        return self.flag.strip("-").upper()


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function a user can call."""

    name: str
    doc: str
    parameters: tuple[Parameter, ...]

    @property
    def command(self) -> str:
        """The function as `dagger call` spells it."""
        return self.name.replace("_", "-")

    def takes(self, name: str) -> bool:
        """Whether it has a parameter of this name."""
        return any(parameter.name == name for parameter in self.parameters)


@dataclass(frozen=True, kw_only=True)
class Description:
    """The module: its docstring, its constructor's parameters, its functions."""

    doc: str
    parameters: tuple[Parameter, ...]
    functions: tuple[Function, ...]


def describe(main: Path, cache: Path) -> Description:
    """Return the description of the module in `main`, from the cache if it is up to date."""
    sources = (main, main.with_name("pipeline") / "types.py", Path(__file__))
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:20]
    cached = cache / f"functions-{key}.json"
    try:
        return _from_json(json.loads(cached.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        # The file is absent, truncated or of another format: describe the module again.
        description = from_module()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(f".{key}.tmp")
        partial.write_text(json.dumps(dataclasses.asdict(description)))
        partial.replace(cached)
    except OSError:
        pass  # without the cache the next start is slower, nothing else
    return description


def from_module() -> Description:
    """Return the description of the decorated class itself."""
    # Late: this import takes the second that the cache saves.
    from ci.main import Acso

    module = Acso.__dagger_module__.get_object("Acso")  # type: ignore[attr-defined]
    constructor = module.get_constructor()
    return Description(
        doc=inspect.cleandoc(Acso.__doc__ or ""),
        parameters=_parameters(constructor),
        functions=tuple(
            Function(name=function.name, doc=function.doc or "", parameters=_parameters(function))
            for name, function in module.functions.items()
            if name  # the constructor has an empty name
        ),
    )


def _parameters(function: typing.Any) -> tuple[Parameter, ...]:
    return tuple(_parameter(name, item) for name, item in function.parameters.items())


def _parameter(name: str, item: typing.Any) -> Parameter:
    required = item.signature.default is inspect.Parameter.empty
    default = None if required else item.signature.default
    kind, choices = _kind(item.resolved_type)
    return Parameter(
        name=name,
        doc=item.doc or "",
        kind=kind,
        required=required and item.default_path is None,
        default=default.value if isinstance(default, enum.Enum) else default,
        choices=choices,
    )


def _kind(annotation: typing.Any) -> tuple[Kind, tuple[str, ...]]:
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if typing.get_origin(annotation) is list:
        return "texts", ()
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "choice", tuple(str(member.value) for member in annotation)
    simple: dict[str, Kind] = {
        "str": "text",
        "int": "number",
        "bool": "flag",
        "Secret": "secret",
        "Directory": "directory",
        "File": "file",
    }
    return simple[annotation.__name__], ()


def _from_json(data: dict[str, typing.Any]) -> Description:
    def parameters(items: list[dict[str, typing.Any]]) -> tuple[Parameter, ...]:
        return tuple(Parameter(**item | {"choices": tuple(item["choices"])}) for item in items)

    return Description(
        doc=data["doc"],
        parameters=parameters(data["parameters"]),
        functions=tuple(
            Function(name=item["name"], doc=item["doc"], parameters=parameters(item["parameters"]))
            for item in data["functions"]
        ),
    )
