"""Fields of Container that only say how it is run: environment, user, ports, labels and such."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ci.engine.api.service import ports
from ci.engine.errors import EngineError
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, Resolver, answers, plain
from ci.engine.healthcheck import Healthcheck
from ci.engine.values import Container, Port, assigned, expanded

if TYPE_CHECKING:
    from ci.engine.envfile import EnvFile


def text(old: Container, value: str, args: Args) -> str:
    """Return a text with the variables in it replaced, where the arguments ask for that."""
    return expanded(value, dict(old.env)) if args.expand else value


def asked(old: Container, args: Args) -> str:
    """Return the path in the arguments, from the root."""
    return old.absolute(text(old, args.path, args))


def _assigned(field: str, argument: str = "name") -> Resolver:
    """Return the resolver that sets a name of a field's pairs; without a value it takes it out."""

    def assign(_engine: Engine, old: Container, args: Args) -> Container:
        pairs: Any = assigned(getattr(old, field), args[argument], args.value)
        return replace(old, **{field: pairs})

    return assign


def _cleared(**values: Any) -> Resolver:
    return lambda _engine, old, _args: replace(old, **values)


def _got(name: str) -> Resolver:
    def get(_engine: Engine, old: Container, _args: Args) -> Any:
        found = getattr(old, name)
        return list(found) if isinstance(found, tuple) else found

    return get


def _with_env(_engine: Engine, old: Container, args: Args) -> Container:
    value = text(old, args.value, args)
    secrets = assigned(old.secrets, args.name, None)
    return replace(old, env=assigned(old.env, args.name, value), secrets=secrets)


def _with_secret(_engine: Engine, old: Container, args: Args) -> Container:
    secrets = assigned(old.secrets, args.name, args.secret)
    return replace(old, env=assigned(old.env, args.name, None), secrets=secrets)


def _entrypoint(_engine: Engine, old: Container, args: Args) -> Container:
    kept = old.args if args.keepDefaultArgs else ()
    return replace(old, entrypoint=tuple(args.args or ()), args=kept)


def _without_port(_engine: Engine, old: Container, args: Args) -> Container:
    kept = tuple(p for p in old.ports if (p.port, p.protocol) != (args.port, args.protocol))
    return replace(old, ports=kept)


def _with_port(engine: Engine, old: Container, args: Args) -> Container:
    new = Port(
        port=args.port,
        protocol=args.protocol,
        description=args.description,
        skip_healthcheck=bool(args.experimentalSkipHealthcheck),
    )
    return replace(old, ports=(*_without_port(engine, old, args).ports, new))


def _pairs(kind: str, name: str) -> Resolver:
    return lambda _engine, old, _args: [
        plain(kind, name=key, value=value) for key, value in getattr(old, name)
    ]


def _health(_engine: Engine, old: Container, _args: Args) -> Args:
    if old.healthcheck is None:
        raise EngineError("the container has no healthcheck")
    return Args(old.healthcheck.facts())


async def _with_env_file(engine: Engine, old: Container, args: Args) -> Container:
    found: EnvFile = await engine.value(args.source)
    env, secrets = old.env, old.secrets
    for name, value in found.values().items():
        env, secrets = assigned(env, name, value), assigned(secrets, name, None)
    return replace(old, env=env, secrets=secrets)


answers(
    "Container",
    {
        "defaultArgs": _got("args"),
        "dockerHealthcheck": _health,
        "entrypoint": _got("entrypoint"),
        "envVariable": lambda _engine, old, args: dict(old.env).get(args.name),
        "envVariables": _pairs("EnvVariable", "env"),
        "exposedPorts": lambda _engine, old, _args: ports(old.ports),
        "label": lambda _engine, old, args: dict(old.labels).get(args.name),
        "labels": _pairs("Label", "labels"),
        "platform": _got("platform"),
        "user": _got("user"),
        "withAnnotation": _assigned("annotations"),
        "withDefaultArgs": lambda _engine, old, args: replace(old, args=tuple(args.args)),
        "withDefaultTerminalCmd": lambda _engine, old, _args: old,  # read by no field but terminal
        "withDockerHealthcheck": lambda _engine, old, args: replace(
            old, healthcheck=Healthcheck.asked(args)
        ),
        "withEntrypoint": _entrypoint,
        "withEnvFileVariables": _with_env_file,
        "withEnvVariable": _with_env,
        "withExposedPort": _with_port,
        "withLabel": _assigned("labels"),
        "withRegistryAuth": lambda _engine, old, args: replace(
            old, auth=assigned(old.auth, args.address, (args.username, args.secret))
        ),
        "withSecretVariable": _with_secret,
        "withServiceBinding": lambda _engine, old, args: replace(
            old, services=(*old.services, (args.alias, args.service))
        ),
        "withUser": lambda _engine, old, args: replace(old, user=args.name),
        "withVolatileVariable": _assigned("volatile"),
        "withWorkdir": lambda _engine, old, args: replace(old, workdir=asked(old, args)),
        "withoutAnnotation": _assigned("annotations"),
        "withoutDefaultArgs": _cleared(args=()),
        "withoutDockerHealthcheck": _cleared(healthcheck=None),
        "withoutEntrypoint": _entrypoint,
        "withoutEnvVariable": _assigned("env"),
        "withoutExposedPort": _without_port,
        "withoutLabel": _assigned("labels"),
        "withoutRegistryAuth": _assigned("auth", "address"),
        "withoutSecretVariable": _assigned("secrets"),
        "withoutUser": _cleared(user=""),
        "withoutVolatileVariable": _assigned("volatile"),
        "withoutWorkdir": _cleared(workdir=""),
        "workdir": _got("workdir"),
    },
    withDefaultTerminalCmd={
        "experimentalPrivilegedNesting": False,
        "insecureRootCapabilities": False,
    },
)
