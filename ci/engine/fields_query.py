"""Fields of Query, Host, Secret, CacheVolume, Service, and of plain data such as labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio.to_thread

from ci.engine import host
from ci.engine.engine import Engine
from ci.engine.errors import EngineError
from ci.engine.fields import FIELDS, VALUE, field, value_call
from ci.engine.ids import Call
from ci.engine.secret import reveal
from ci.engine.values import Cache, Container, Directory, File, Secret, Service

#: The release whose API this engine has.
VERSION = "v0.21.8"


@field("Query.version")
async def version(_engine: Engine, _query: None) -> str:
    return VERSION


@field("Query.defaultPlatform")
async def default_platform(engine: Engine, _query: None) -> str:
    return engine.platform


@field("Query.container")
async def container(engine: Engine, _query: None, platform: str | None = None) -> Container:
    if platform not in (None, engine.platform):
        raise EngineError(f"this engine runs {engine.platform} only, not {platform}")
    return Container(platform=engine.platform)


@field("Query.host")
async def query_host(_engine: Engine, _query: None) -> str:
    return "host"


@field("Host.directory")
async def host_directory(
    engine: Engine,
    _host: str,
    path: str,
    include: list[str],
    exclude: list[str],
    noCache: bool,  # noqa: ARG001, N803  # see Engine.value
    gitignore: bool,
) -> Directory:
    root = Path(path).expanduser().absolute()  # noqa: ASYNC240
    read = lambda: host.upload(engine.store, root, include, exclude, gitignore=gitignore)  # noqa: E731
    return Directory(tree=await anyio.to_thread.run_sync(read), name=root.name + "/")


@field("Host.file")
async def host_file(engine: Engine, _host: str, path: str, noCache: bool) -> File:  # noqa: ARG001, N803
    source = Path(path).expanduser().absolute()  # noqa: ASYNC240
    entry = await anyio.to_thread.run_sync(host.upload_file, engine.store, source)
    return File(name=source.name, entry=entry)


@field("Host.findUp")
async def host_find_up(_engine: Engine, _host: str, name: str, noCache: bool) -> str | None:  # noqa: ARG001, N803
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / name).exists():
            return str(folder / name)
    return None


# --- secrets --------------------------------------------------------------------------------
@field("Query.setSecret")
async def set_secret(engine: Engine, _query: None, name: str, plaintext: str) -> Secret:
    """Answer for a secret whose value was replaced by its hash when the query came in."""

    async def value() -> bytes:
        if plaintext not in engine.plaintexts:
            raise EngineError(f"secret {name} was set in another session; set it again")
        return engine.plaintexts[plaintext]

    return Secret(name=name, uri="", reveal=value)


@field("Query.secret")
async def secret(_engine: Engine, _query: None, uri: str, cacheKey: str | None = None) -> Secret:  # noqa: ARG001, N803
    return Secret(name=uri, uri=uri, reveal=lambda: reveal(uri))


@field("Secret.name")
async def secret_name(_engine: Engine, old: Secret) -> str:
    return old.name


@field("Secret.uri")
async def secret_uri(_engine: Engine, old: Secret) -> str:
    return old.uri


@field("Secret.plaintext")
async def plaintext(_engine: Engine, old: Secret) -> str:
    return (await old.reveal()).decode()


# --- caches ---------------------------------------------------------------------------------
@field("Query.cacheVolume")
async def cache_volume(
    engine: Engine,
    _query: None,
    key: str,
    sharing: str,
    owner: str,
    source: Call | None = None,
) -> Cache:
    first = (lambda: engine.tree(source)) if source else None
    return Cache(name=key, source=first, sharing=sharing, owner=owner)


# --- services -------------------------------------------------------------------------------
@field("Service.start")
async def start(engine: Engine, _old: Service, call: Call) -> None:
    await engine.services.start(call)


@field("Service.stop")
async def stop(engine: Engine, _old: Service, call: Call, kill: bool) -> None:  # noqa: ARG001
    await engine.services.stop(call)


@field("Service.sync")
async def service_sync(engine: Engine, old: Service) -> None:
    await engine.steps.state(old.container.files)


@field("Service.hostname")
async def hostname(engine: Engine, _old: Service, call: Call) -> str:
    return await engine.services.hostname(call)


@field("Service.withHostname")
async def with_hostname(_engine: Engine, old: Service, hostname: str) -> Service:
    return replace(old, hostname=hostname)


@field("Service.ports")
async def service_ports(_engine: Engine, old: Service) -> list[Call]:
    return ports(old.container)


@field("Service.endpoint")
async def endpoint(
    engine: Engine, old: Service, call: Call, scheme: str, port: int | None = None
) -> str:
    if port is None:
        if not old.container.ports:
            raise EngineError("the service exposes no port")
        port = old.container.ports[0].port
    address = f"{await engine.services.hostname(call)}:{port}"
    return f"{scheme}://{address}" if scheme else address


#: Fields that are told which call they are asked of.
ASKED_OF = {"Service.start", "Service.stop", "Service.hostname", "Service.endpoint"}


def ports(old: Container) -> list[Call]:
    """Return a container's ports as objects."""
    return [
        value_call(
            "Port",
            port=each.port,
            protocol=each.protocol,
            description=each.description,
            experimentalSkipHealthcheck=each.skip_healthcheck,
        )
        for each in old.ports
    ]


# --- plain data -----------------------------------------------------------------------------
@field(f"Query.{VALUE}")
async def plain(_engine: Engine, _query: None, **args: Any) -> dict[str, Any]:
    return args


def _getter(name: str) -> None:
    kind, _, key = name.partition(".")

    async def get(_engine: Engine, old: dict[str, Any]) -> Any:
        return old[key]

    FIELDS[f"{kind}.{key}"] = field(name)(get)


for _name in (
    "EnvVariable.name",
    "EnvVariable.value",
    "Label.name",
    "Label.value",
    "Port.port",
    "Port.protocol",
    "Port.description",
    "Port.experimentalSkipHealthcheck",
    "Stat.name",
    "Stat.size",
    "Stat.permissions",
    "Stat.fileType",
):
    _getter(_name)
