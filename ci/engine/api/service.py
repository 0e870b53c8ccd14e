"""Fields of Service: service containers, and ports forwarded from or to this host."""

from dataclasses import replace

import anyio

from ci.engine.errors import EngineError
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, plain_object, register
from ci.engine.ids import Call
from ci.engine.store.cache import key_of
from ci.engine.values import Port, PortForward, Service


def ports(found: tuple[Port, ...]) -> list[Call]:
    """Return ports as objects of the API."""
    return [
        plain_object(
            "Port",
            port=each.port,
            protocol=each.protocol,
            description=each.description,
            experimentalSkipHealthcheck=each.skip_healthcheck,
        )
        for each in found
    ]


async def _ports(engine: Engine, service: Service | PortForward, _args: Args) -> list[Call]:
    return ports(await engine.bindings.ports(service))


async def _endpoint(engine: Engine, service: Service | PortForward, args: Args) -> str:
    known = await engine.bindings.ports(service)
    if args.port is None and not known:
        raise EngineError("the service exposes no port; use withExposedPort or the argument `port`")
    address = f"{await engine.bindings.hostname(service)}:{args.port or known[0].port}"
    return f"{args.scheme}://{address}" if args.scheme else address


async def _sync(engine: Engine, service: Service | PortForward, _args: Args) -> None:
    if isinstance(service, Service):
        await engine.files.state(service.container.files)


async def _stop(engine: Engine, service: Service | PortForward, args: Args) -> None:
    await engine.bindings.stop(service, kill=bool(args.kill))


async def up(engine: Engine, service: Service | PortForward, args: Args) -> None:
    """Forward ports of this host until the caller disconnects or the service ends."""
    if isinstance(service, PortForward):
        await engine.port_forwards.start(service)
        await anyio.sleep_forever()
        return
    from ci.engine.execution.port_forwards import forwarded_ports

    pairs = forwarded_ports(
        service, args.ports or [], native=not args.ports, random=bool(args.random)
    )
    forward = PortForward(ports=pairs, service=service)
    await engine.port_forwards.start(forward)
    try:
        code = await engine.services.exit_code(service)
    finally:
        await engine.port_forwards.stop(forward)
    raise EngineError(f"service `{' '.join(service.args)}` ended with exit code {code}")


register(
    "Service",
    {
        "endpoint": _endpoint,
        "hostname": lambda engine, service, _args: engine.bindings.hostname(service),
        "ports": _ports,
        "start": lambda engine, service, _args: engine.bindings.start(service),
        "stop": _stop,
        "sync": _sync,
        "up": up,
        "withHostname": lambda _engine, service, args: replace(service, hostname=args.hostname),
    },
)


# --- forwarded ports ----------------------------------------------------------------------
def _host_service(_engine: Engine, _host: str, args: Args) -> PortForward:
    if not args.ports:
        raise EngineError("host.service: at least one port is needed")
    from ci.engine.execution.port_forwards import require_tcp

    require_tcp(args.ports)
    pairs = tuple((each.get("frontend") or each["backend"], each["backend"]) for each in args.ports)
    name = key_of("host service", pairs, args.host)[:12]
    return PortForward(ports=pairs, host=args.host, hostname=f"host-{name}")


async def _tunnel(engine: Engine, _host: str, args: Args) -> PortForward:
    from ci.engine.execution.port_forwards import forwarded_ports

    service = await engine.value(args.service)
    if not isinstance(service, Service):
        raise EngineError("host.tunnel: the service must be one of a container, not of this host")
    pairs = forwarded_ports(service, args.ports or [], native=bool(args.native))
    return PortForward(ports=pairs, service=service)


register("Host", {"service": _host_service, "tunnel": _tunnel})
