"""Call a function of `Acso` in this process, inside a session of an engine.

The container engine, base image and embedded AWS are started first, as far as the call needs them.
"""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio

from ci.cli import checkout
from ci.cli.signatures import Function
from ci.config import FILE, Config, load, nearest
from ci.errors import UsageError
from ci.report.progress import stage

if TYPE_CHECKING:
    from ci import engine
    from ci.cli.streaming import Handler, StreamingResult
    from ci.local.container_engine import Docker
    from ci.local.embedded_aws import Emulator

ROOT = Path(__file__).resolve().parents[2]
#: Bytes from which on a new log of the engine is begun; one old one is kept.
LOG_SIZE = 10 << 20
SECRETS = ("env://", "file://", "cmd://")  # how references to secrets begin

Engine = Literal["auto", "dagger", "local"]
AwsChoice = Literal["auto", "local", "real"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a command runs, and whether the engine's log is shown."""

    engine: Engine = "auto"
    aws: AwsChoice = "auto"
    verbose: bool = False


Arguments = Mapping[str, Any]


async def call(
    function: Function,
    arguments: Arguments,
    constructor: Arguments,
    options: RunOptions,
    handler: "Handler | None" = None,
) -> "str | StreamingResult":
    """Run a function of `Acso` and return what it returns.

    Args:
        function: the function to call.
        arguments: its arguments by name, as given on the command line; others keep their default.
        constructor: arguments of the class, in the same way.
        options: which engine and which AWS to use.
        handler: called with the object and the arguments in place of the function.
    """
    config = load(Path(constructor.get("source", ROOT)) / FILE)
    check_names(config, arguments)  # a typing error is reported before anything starts
    if needs_dagger_session(options):
        restart_inside_dagger()
    async with _prepare(function, arguments, config, options) as overrides:
        return await _call_function(function, arguments, dict(constructor), overrides, handler)


def check_names(config: Config, arguments: Arguments) -> None:
    """Raise `UsageError` for an environment, agent or suite that does not exist."""
    for name in ("env", "from_"):
        if env := arguments.get(name):
            config.environment(env)
    named = arguments.get("agent") or []
    for name in [named] if isinstance(named, str) else named:
        config.agent(name)
    if suite := arguments.get("suite"):
        from validation.suites import SUITES  # late: imports all checks

        for name in map(str.strip, str(suite).split(",")):
            if name in SUITES:
                continue
            message = f"unknown suite {name!r} ({nearest(name, list(SUITES))})"
            raise UsageError(message)


def needs_dagger_session(options: RunOptions) -> bool:
    """Return whether this process must be restarted inside `dagger run`."""
    if os.environ.get("DAGGER_SESSION_PORT") or options.engine == "local":
        return False
    found = shutil.which("dagger") is not None
    if options.engine == "dagger" and not found:
        message = "--engine dagger needs the `dagger` program, which is not on PATH"
        raise UsageError(message, hint="install the Dagger CLI, or use --engine local")
    return found


def restart_inside_dagger() -> None:
    """Replace this process by the same one inside a session of a Dagger engine."""
    os.execvp("dagger", ["dagger", "run", sys.executable, *sys.argv])  # noqa: S606


def uses_local_aws(config: Config, name: str, aws: str) -> bool:
    """Return whether an environment is on the embedded AWS.

    With "auto", development is, unless acso.toml gives it an account; other environments are not.
    So AWS credentials that happen to be configured never turn a first try into a real deployment.
    """
    if aws != "auto":
        return aws == "local"
    return name == "development" and config.environment(name).account is None


@asynccontextmanager
async def _prepare(
    function: Function, arguments: Arguments, config: Config, options: RunOptions
) -> AsyncIterator[dict[str, Any]]:
    local_aws = function.takes("env") and uses_local_aws(config, arguments["env"], options.aws)
    overrides: dict[str, Any] = {}
    if os.environ.get("DAGGER_SESSION_PORT"):
        if local_aws:
            overrides = _overrides((await start_embedded_aws())[1])
        yield overrides
        return
    images: dict[str, str] = {}

    async def prepare() -> "Docker":
        from ci.local import container_engine  # late: imports Docker's client

        async with stage("container engine") as span:
            found = await container_engine.ensure(span.say)
        async with anyio.create_task_group() as group:
            group.start_soon(prepare_base, found)
            if local_aws:
                group.start_soon(prepare_aws, found)
        return found

    async def prepare_base(found: "Docker") -> None:
        from ci.local import base_image

        async with stage("base image") as span:
            image = await base_image.ensure(found, span.say, name=config.project.base_image)
            span.result = image.reference
            images[config.project.base_image] = image.reference

    async def prepare_aws(found: "Docker") -> None:
        overrides.update(_overrides(await _emulator(found)))

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, _import_client)
        found = await prepare()
    async with engine_session(found, images, verbose=options.verbose):
        yield overrides


def _import_client() -> None:
    # Takes most of a second of one core, used while the rest is being started.
    import ci.main  # noqa: F401


async def start_embedded_aws() -> tuple["Docker", "Emulator"]:
    """Start the container engine and the embedded AWS, without an engine session of ours."""
    from ci.local import container_engine

    async with stage("container engine") as span:
        found = await container_engine.ensure(span.say)
    return found, await _emulator(found)


async def _emulator(found: "Docker") -> "Emulator":
    from ci.local import embedded_aws

    async with stage("embedded AWS") as span:
        running = await embedded_aws.ensure(found, span.say)
        span.result = running.endpoint
    return running


def _overrides(emulator: "Emulator") -> dict[str, Any]:
    return {
        "endpoint": emulator.endpoint,
        "registry": emulator.registry,
        "load_balancer": emulator.load_balancer,
    }


@asynccontextmanager
async def engine_session(
    docker: "Docker", images: Mapping[str, str], *, verbose: bool
) -> AsyncIterator["engine.Session"]:
    """Open a session of the local engine and point the Dagger client of this process at it."""
    from ci import engine

    options = engine_options(docker, images, _log(verbose=verbose))
    async with engine.serve(options) as session:
        os.environ.update(session.environ())
        try:
            yield session
        finally:
            for name in session.environ():
                os.environ.pop(name, None)


def engine_options(
    docker: "Docker", images: Mapping[str, str], log: Callable[[str], None]
) -> "engine.Options":
    """Return the local engine's options on this machine."""
    from ci import engine
    from ci.local import network_settings, paths

    settings = network_settings.settings()
    return engine.Options(
        cache_dir=paths.cache_dir() / "engine",
        docker=docker.url,
        images=images,
        exec_env=settings.exec_env,
        ca_bundle=settings.ca_bundle,
        labels=paths.instance_labels(),
        log=log,
    )


def _log(*, verbose: bool) -> Callable[[str], None]:
    from ci.local import paths

    path = paths.state_dir() / "engine.log"
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(line: str) -> None:
        # Not logging's RotatingFileHandler: other processes write to the same file.
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            size = file.tell()
        if size > LOG_SIZE:
            path.replace(path.with_name("engine.log.1"))
        if verbose:
            sys.stderr.write(f"   engine: {line}\n")

    return write


async def _call_function(
    function: Function,
    arguments: Arguments,
    constructor: dict[str, Any],
    overrides: dict[str, Any],
    handler: "Handler | None",
) -> "str | StreamingResult":
    import dagger  # late: takes most of a second
    from dagger import dag

    from ci.main import Acso
    from ci.pipeline import ancestry
    from ci.pipeline.decorators import in_process
    from ci.pipeline.types import Format, OnCancel
    from ci.stages.base import IGNORE

    values = {**overrides, **constructor}
    async with dagger.connection(dagger.Config(log_output=None)):
        if "endpoint" in overrides:  # the embedded AWS accepts any keys: the user's are not sent
            values.setdefault("aws_access_key_id", dag.set_secret("local-aws-key", "test"))
            values.setdefault("aws_secret_access_key", dag.set_secret("local-aws-secret", "test"))
        for name, value in values.items():
            if isinstance(value, str) and value.startswith(SECRETS):
                values[name] = dag.secret(value)
        values["source"] = dag.host().directory(str(values.get("source", ROOT)), exclude=IGNORE)
        given = dict(arguments)
        if function.takes("actor"):
            state = await anyio.to_thread.run_sync(checkout.state, ROOT)
            given = {name: state[name] for name in state if function.takes(name)} | given
        if "format" in given:
            given["format"] = Format(given["format"])
        if "on_cancel" in given:
            given["on_cancel"] = OnCancel(given["on_cancel"])
        for parameter in function.parameters:
            if parameter.kind == "file" and parameter.name in given:
                given[parameter.name] = dag.host().file(str(given[parameter.name]))
        if handler is not None:
            with in_process():
                return await handler(Acso(**values), given)
        with in_process(), ancestry.checkout(partial(checkout.relation, ROOT)):
            result: str = await getattr(Acso(**values), function.name)(**given)
        return result
