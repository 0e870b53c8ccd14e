"""Fields of Container that only say how it is run: environment, user, ports, labels and such."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ci.engine.api_service import ports
from ci.engine.engine import Engine
from ci.engine.errors import EngineError
from ci.engine.fields import Args, Resolver, answers, plain
from ci.engine.health import Healthcheck
from ci.engine.values import Container, Port, assigned, expanded

if TYPE_CHECKING:
    from ci.engine.envfile import EnvFile


def text(old: Container, value: str, args: Args) -> str:
    """Return a text with the variables in it replaced, where the arguments ask for that."""
    return expanded(value, dict(old.env)) if args.expand else value


def asked(old: Container, args: Args) -> str:
    """Return the path in the arguments, from the root."""
    return old.absolute(text(old, args.path, args))


def _set(**names: str) -> Resolver:
    """Return the resolver that sets fields of the value from arguments of other names."""

    def put(_engine: Engine, old: Container, args: Args) -> Container:
        values: dict[str, Any] = {key: args[name] for key, name in names.items()}
        lists: Any = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return replace(old, **lists)

    return put


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


def _with_port(_engine: Engine, old: Container, args: Args) -> Container:
    new = Port(
        port=args.port,
        protocol=args.protocol,
        description=args.description,
        skip_healthcheck=bool(args.experimentalSkipHealthcheck),
    )
    return replace(old, ports=(*_other_ports(old, args), new))


def _other_ports(old: Container, args: Args) -> tuple[Port, ...]:
    return tuple(p for p in old.ports if (p.port, p.protocol) != (args.port, args.protocol))


def _with_auth(_engine: Engine, old: Container, args: Args) -> Container:
    given = (args.address, args.username, args.secret)
    return replace(old, auth=(*_other_auth(old, args), given))


def _other_auth(old: Container, args: Args) -> tuple[Any, ...]:
    return tuple(each for each in old.auth if each[0] != args.address)


def _pairs(kind: str, name: str) -> Resolver:
    return lambda _engine, old, _args: [
        plain(kind, name=key, value=value) for key, value in getattr(old, name)
    ]


def _volatile(_engine: Engine, old: Container, args: Args) -> Container:
    return replace(old, volatile=assigned(old.volatile, args.name, args.value))


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
        "withAnnotation": lambda _engine, old, args: replace(
            old, annotations=assigned(old.annotations, args.name, args.value)
        ),
        "withDefaultArgs": _set(args="args"),
        "withDefaultTerminalCmd": lambda _engine, old, _args: old,  # read by no field but terminal
        "withDockerHealthcheck": lambda _engine, old, args: replace(
            old, healthcheck=Healthcheck.asked(args)
        ),
        "withEntrypoint": _entrypoint,
        "withEnvFileVariables": _with_env_file,
        "withEnvVariable": _with_env,
        "withExposedPort": _with_port,
        "withLabel": lambda _engine, old, args: replace(
            old, labels=assigned(old.labels, args.name, args.value)
        ),
        "withRegistryAuth": _with_auth,
        "withSecretVariable": _with_secret,
        "withServiceBinding": lambda _engine, old, args: replace(
            old, services=(*old.services, (args.alias, args.service))
        ),
        "withUser": _set(user="name"),
        "withVolatileVariable": _volatile,
        "withWorkdir": lambda _engine, old, args: replace(old, workdir=asked(old, args)),
        "withoutAnnotation": lambda _engine, old, args: replace(
            old, annotations=assigned(old.annotations, args.name, None)
        ),
        "withoutDefaultArgs": _cleared(args=()),
        "withoutDockerHealthcheck": _cleared(healthcheck=None),
        "withoutEntrypoint": _entrypoint,
        "withoutEnvVariable": lambda _engine, old, args: replace(
            old, env=assigned(old.env, args.name, None)
        ),
        "withoutExposedPort": lambda _engine, old, args: replace(
            old, ports=_other_ports(old, args)
        ),
        "withoutLabel": lambda _engine, old, args: replace(
            old, labels=assigned(old.labels, args.name, None)
        ),
        "withoutRegistryAuth": lambda _engine, old, args: replace(old, auth=_other_auth(old, args)),
        "withoutSecretVariable": lambda _engine, old, args: replace(
            old, secrets=assigned(old.secrets, args.name, None)
        ),
        "withoutUser": _cleared(user=""),
        "withoutVolatileVariable": lambda _engine, old, args: replace(
            old, volatile=assigned(old.volatile, args.name, None)
        ),
        "withoutWorkdir": _cleared(workdir=""),
        "workdir": _got("workdir"),
    },
    withDefaultTerminalCmd={
        "experimentalPrivilegedNesting": False,
        "insecureRootCapabilities": False,
    },
)
