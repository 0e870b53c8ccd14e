"""Fields of Service: containers that serve, and ports that lead from or to this host."""

from dataclasses import replace

import anyio

from ci.engine.errors import EngineError
from ci.engine.execution.ports import ports_of, require_tcp
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, answers, plain
from ci.engine.ids import Call
from ci.engine.values import Forward, Port, Service


def ports(found: tuple[Port, ...]) -> list[Call]:
    """Return ports as objects."""
    return [
        plain(
            "Port",
            port=each.port,
            protocol=each.protocol,
            description=each.description,
            experimentalSkipHealthcheck=each.skip_healthcheck,
        )
        for each in found
    ]


async def _ports(engine: Engine, service: Service | Forward, _args: Args) -> list[Call]:
    return ports(await engine.serving(service).ports(service))


async def _endpoint(engine: Engine, service: Service | Forward, args: Args) -> str:
    known = await engine.serving(service).ports(service)
    if args.port is None and not known:
        raise EngineError("the service exposes no port")
    address = f"{await engine.services.hostname(service)}:{args.port or known[0].port}"
    return f"{args.scheme}://{address}" if args.scheme else address


async def _sync(engine: Engine, service: Service | Forward, _args: Args) -> None:
    if isinstance(service, Service):
        await engine.steps.state(service.container.files)


async def up(engine: Engine, service: Service | Forward, args: Args) -> None:
    """Forward ports of this host until the caller goes away or the service ends."""
    if isinstance(service, Forward):
        await engine.forwards.start(service)
        await anyio.sleep_forever()
        return
    pairs = ports_of(service, args.ports or [], native=not args.ports, random=bool(args.random))
    forward = Forward(ports=pairs, service=service)
    await engine.forwards.start(forward)
    try:
        code = await engine.services.ended(service)
    finally:
        await engine.forwards.stop(forward)
    raise EngineError(f"service `{' '.join(service.args)}` ended with exit code {code}")


answers(
    "Service",
    {
        "endpoint": _endpoint,
        "hostname": lambda engine, service, _args: engine.services.hostname(service),
        "ports": _ports,
        "start": lambda engine, service, _args: engine.serving(service).start(service),
        "stop": lambda engine, service, _args: engine.serving(service).stop(service),
        "sync": _sync,
        "up": up,
        "withHostname": lambda _engine, service, args: replace(service, hostname=args.hostname),
    },
)


# --- by way of this host ----------------------------------------------------------------------
def _host_service(_engine: Engine, _host: str, args: Args) -> Forward:
    if not args.ports:
        raise EngineError("a service of this host needs at least one port")
    require_tcp(args.ports)
    pairs = tuple((each.get("frontend") or each["backend"], each["backend"]) for each in args.ports)
    return Forward(ports=pairs, host=args.host, hostname=f"host-{pairs[0][0]}")


async def _tunnel(engine: Engine, _host: str, args: Args) -> Forward:
    service = await engine.value(args.service)
    if not isinstance(service, Service):
        raise EngineError("a tunnel leads to a container's service, not to one of this host")
    pairs = ports_of(service, args.ports or [], native=bool(args.native))
    return Forward(ports=pairs, service=service)


answers("Host", {"service": _host_service, "tunnel": _tunnel})
