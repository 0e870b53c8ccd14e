"""A stand-in for the `dagger` program: `dagger call` of this module, on the local engine.

It parses as Dagger's CLI does: flags of the constructor before the function, the function's own
behind it, all in kebab case; a flag or function that the module does not have is an error. Then it
calls the same function, or writes what it would call to the file that `ACSO_TEST_CALL` names.
`ACSO_TEST_AWS` is a JSON object of constructor arguments that say where AWS is.

Source: Dagger v0.21.8, cmd/dagger/functions.go and flags.go.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from ci.cli.session import ROOT
from ci.cli.signatures import Description, Function, Parameter, describe
from ci.common.concurrency import first_of
from ci.errors import AcsoError
from ci.local import paths

GLOBAL = {"--progress": 1, "--silent": 0}  # how many values each takes
SECRETS = ("env://", "file://", "cmd://", "vault://", "op://", "libsecret://")


class WrongUsageError(Exception):
    """What the CLI says of arguments that it does not take."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is called: a function and its arguments, and those of the constructor."""

    function: Function
    constructor: dict[str, Any]
    arguments: dict[str, Any]


def parse(module: Description, argv: Sequence[str]) -> Call:
    """Return the call that arguments of `dagger` mean; raises `WrongUsageError`."""
    rest = list(argv)
    while rest and rest[0] in GLOBAL:
        del rest[: 1 + GLOBAL[rest[0]]]
    if not rest or rest.pop(0) != "call":
        raise WrongUsageError("only `dagger call` is here")
    constructor = _flags(module.parameters, rest)
    name = rest.pop(0) if rest else ""
    function = next((item for item in module.functions if item.command == name), None)
    if function is None:
        raise WrongUsageError(f'unknown command "{name}" for "dagger call"')
    arguments = _flags(function.parameters, rest)
    if rest:
        raise WrongUsageError(f'unknown command "{rest[0]}" for "dagger call {name}"')
    for wanted, given in ((module.parameters, constructor), (function.parameters, arguments)):
        missing = [p.flag.lstrip("-") for p in wanted if p.required and p.name not in given]
        if missing:
            quoted = ", ".join(f'"{flag}"' for flag in missing)
            raise WrongUsageError(f"required flag(s) {quoted} not set")
    return Call(function=function, constructor=constructor, arguments=arguments)


def _flags(parameters: tuple[Parameter, ...], rest: list[str]) -> dict[str, Any]:
    """Take the flags of these parameters from the front."""
    known = {parameter.flag: parameter for parameter in parameters}
    given: dict[str, Any] = {}
    while rest and rest[0].startswith("-"):
        flag, equals, text = rest.pop(0).partition("=")
        if flag not in known:
            raise WrongUsageError(f"unknown flag: {flag}")
        parameter = known[flag]
        if not equals and parameter.kind == "flag":
            text = "true"
        elif not equals:
            if not rest:
                raise WrongUsageError(f"flag needs an argument: {flag}")
            text = rest.pop(0)
        value = _value(parameter, text)
        given[parameter.name] = (
            [*given.get(parameter.name, []), *value] if parameter.kind == "texts" else value
        )
    return given


def _value(parameter: Parameter, text: str) -> Any:
    match parameter.kind:
        case "flag" if text not in ("true", "false"):
            raise WrongUsageError(f'invalid argument "{text}" for "{parameter.flag}" flag')
        case "flag":
            return text == "true"
        case "number":
            return int(text)
        case "choice" if text.lower() not in parameter.choices:
            raise WrongUsageError(f'invalid argument "{text}" for "{parameter.flag}" flag')
        case "choice":
            return text.lower()
        case "texts":
            return text.split(",")
        case "secret" if not text.startswith(SECRETS):
            raise WrongUsageError(f'invalid argument for "{parameter.flag}" flag: no secret')
        case _:
            return text


async def run(call: Call) -> str:
    """Call the function in this process, on the local engine."""
    from ci.cli.session import RunOptions
    from ci.cli.session import call as run_here

    place = json.loads(os.environ.get("ACSO_TEST_AWS", "{}"))
    constructor = {"source": str(Path.cwd()), **place, **call.constructor}
    options = RunOptions(engine="local", aws="real")
    result = await run_here(call.function, call.arguments, constructor, options)
    return str(result)


def main() -> int:
    """Act as the program; return its exit code, 1 for every failure."""
    try:
        call = parse(describe(ROOT / "ci" / "main.py", paths.cache_dir()), sys.argv[1:])
        if file := os.environ.get("ACSO_TEST_CALL"):
            made = {"constructor": call.constructor, "arguments": call.arguments}
            Path(file).write_text(json.dumps({"function": call.function.name, **made}))
            return 0
        sys.stdout.write(anyio.run(run, call) + "\n")
    except Exception as error:
        shown = first_of(error, AcsoError) or error
        hint = getattr(shown, "hint", "")
        sys.stderr.write(f"Error: {shown}\n" + f"  next: {hint}\n" * bool(hint))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
