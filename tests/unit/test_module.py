"""The Dagger module is whole: what `dagger.json` includes builds, installs and imports alone."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci.cli.signatures import from_module
from tests.unit.typedef_server import Call, calls, serving

ROOT = Path(__file__).parents[2]
#: What the Python runtime of a Dagger engine runs to register a module.
REGISTER = """
import sys
sys.path.insert(0, sys.argv[1])
import ci.main
assert ci.main.__file__.startswith(sys.argv[1]), ci.main.__file__
from dagger.mod import cli
sys.exit(cli.app(register=True))
"""
#: Functions that the CLI hides, because fields of Query had these names.
#: Source: Dagger v0.21.8, dagql/dagui/opts.go, `ShouldSkipFunction`.
HIDDEN = {
    "_builtinContainer",
    "cacheVolume",
    "currentFunctionCall",
    "currentModule",
    "function",
    "generatedCode",
    "pipeline",
    "setSecret",
    "sourceMap",
    "typeDef",
    "with",
}
#: Flags of `dagger call` itself. Source: Dagger v0.21.8, cmd/dagger/main.go and functions.go.
RESERVED = {
    "auto-apply",
    "cloud",
    "debug",
    "dot-focus-field",
    "dot-output",
    "dot-show-internal",
    "help",
    "interactive",
    "interactive-command",
    "json",
    "lock",
    "mod",
    "no-exit",
    "output",
    "progress",
    "quiet",
    "scale-out",
    "silent",
    "verbose",
    "web",
    "workdir",
    "x-release",
}
#: Types that the CLI makes flags of, as far as the module uses them.
FLAGS = {
    "BOOLEAN_KIND",
    "Directory",
    "File",
    "Format",
    "INTEGER_KIND",
    "OnCancel",
    "STRING_KIND",
    "Secret",
    "[STRING_KIND]",
}


def included(target: Path) -> None:
    """Copy exactly what an engine would get."""
    for pattern in json.loads((ROOT / "dagger.json").read_text())["include"]:
        if pattern.startswith("!"):
            continue
        for path in ROOT.glob(pattern):
            copy = target / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)


def installed_from(folder: Path) -> Path:
    """Build a wheel of the included files, as an engine's runtime does, and unpack it."""
    source, wheel, installed = folder / "source", folder / "wheel", folder / "installed"
    included(source)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheel)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(wheel.iterdir())) as file:
        file.extractall(installed)
    return installed


@dataclass(frozen=True)
class Defined:
    """A function as it is registered: its parameters' type definitions and defaults, by name."""

    name: str
    parameters: Mapping[str, Call]
    result: str
    documented: bool


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Defined]:
    """The functions by name ("" for the constructor), registered as the Python runtime does it.

    From exactly the included files, by the entry point, with the client's own `Module`.
    """
    folder = tmp_path_factory.mktemp("module")
    installed, output = installed_from(folder), folder / "module.json"
    with serving() as environ:
        subprocess.run(
            [sys.executable, "-c", REGISTER, str(installed)],
            cwd=folder,
            check=True,
            env={
                **os.environ,
                **environ,
                "DAGGER_MAIN_OBJECT": "Acso",
                "DAGGER_MODULE": "acso",
                "DAGGER_MODULE_FILE": str(output),
            },
        )
    module = json.loads(json.loads(output.read_text()))
    (main,) = (call["args"]["object"] for call in calls(module) if call["field"] == "withObject")
    given = [call["args"]["function"] for call in calls(main) if "function" in call["args"]]
    found = [defined(function) for function in given]
    return {item.name: item for item in found}


def defined(function: Call) -> Defined:
    parts = calls(function)
    (head,) = (call for call in parts if call["field"] == "function")
    return Defined(
        name=head["args"]["name"],
        parameters={
            call["args"]["name"]: call["args"] for call in parts if call["field"] == "withArg"
        },
        result=kind_of(head["args"]["returnType"]),
        documented=any(call["field"] == "withDescription" for call in parts),
    )


def kind_of(type_def: Call) -> str:
    """Return the kind of a type definition, or the name of an object or enum."""
    names = {
        "withKind": "kind",
        "withObject": "name",
        "withEnum": "name",
        "withListOf": "elementType",
    }
    (call,) = (call for call in calls(type_def) if call["field"] in names)
    value = call["args"][names[call["field"]]]
    return f"[{kind_of(value)}]" if call["field"] == "withListOf" else str(value)


def test_no_function_has_a_name_that_the_cli_hides(functions: Mapping[str, Defined]) -> None:
    assert {camel(name) for name in functions} & HIDDEN == set()
    assert "ci" in functions


def test_no_argument_has_the_name_of_one_of_the_cli_s_own_flags(
    functions: Mapping[str, Defined],
) -> None:
    constructor = {flag(name) for name in functions[""].parameters}
    for function in functions.values():
        flags = [flag(name) for name in function.parameters]
        assert len(set(flags)) == len(flags)
        assert set(flags) & RESERVED == set()
        assert not function.name or set(flags) & constructor == set()


def test_every_type_is_one_that_the_cli_makes_a_flag_of(functions: Mapping[str, Defined]) -> None:
    for function in functions.values():
        kinds = {kind_of(given["typeDef"]) for given in function.parameters.values()}
        assert kinds <= FLAGS, function.name
        assert function.result == ("Acso" if not function.name else "STRING_KIND")


def test_every_function_and_argument_has_help(functions: Mapping[str, Defined]) -> None:
    for name, function in functions.items():
        assert function.documented or not name
        assert all(given["description"] for given in function.parameters.values()), name


def test_what_has_no_default_is_what_the_command_line_requires(
    functions: Mapping[str, Defined],
) -> None:
    described = {item.name: item for item in from_module().functions}
    assert {camel(name) for name in described} == {camel(name) for name in functions if name}
    for name, function in functions.items():
        if name:
            required = {
                parameter
                for parameter, given in function.parameters.items()
                if given.get("defaultValue") is None
                and not any(call["field"] == "withOptional" for call in calls(given["typeDef"]))
            }
            ours = next(item for item in described.values() if camel(item.name) == camel(name))
            wanted = {parameter.name for parameter in ours.parameters if parameter.required}
            assert {flag(item) for item in required} == {flag(item) for item in wanted}, name


def flag(name: str) -> str:
    return camel_words(name.strip("_"))


def camel(name: str) -> str:
    head, *rest = name.strip("_").split("_")
    return head + "".join(word.capitalize() for word in rest)


def camel_words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"-\1", name).replace("_", "-").lower()


def test_everything_the_packages_need_is_included() -> None:
    kinds = {path.suffix for path in (ROOT / "ci").rglob("*") if path.is_file()} - {".pyc"}
    patterns = json.loads((ROOT / "dagger.json").read_text())["include"]
    assert {f"ci/**/*{kind}" for kind in kinds} <= set(patterns)


def test_the_engine_s_client_is_not_pinned_for_the_engine_and_is_in_our_locks() -> None:
    # The engine's runtime brings its own copy and finds no version of it to install.
    assert '"dagger-io"]' in (ROOT / "pyproject.toml").read_text()
    version = json.loads((ROOT / "dagger.json").read_text())["engineVersion"].lstrip("v")
    assert f"dagger-io=={version} " in (ROOT / "locks" / "cli.lock").read_text()
