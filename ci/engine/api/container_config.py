"""Fields of Container that configure it: environment, user, ports, labels and others."""

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ci.engine.api.service import ports
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, Resolver, plain_object, register
from ci.engine.healthcheck import Healthcheck
from ci.engine.values import Container, Port, expand_variables, with_pair

if TYPE_CHECKING:
    from ci.engine.formats.envfile import EnvFile


def expand(old: Container, value: str, args: Args) -> str:
    """Return a text, with its variables replaced if the argument `expand` is set."""
    return expand_variables(value, old) if args.expand else value


def absolute_path(old: Container, args: Args) -> str:
    """Return the path in the arguments, from the root."""
    return old.absolute(expand(old, args.path, args))


def _set_pair(field: str, argument: str = "name") -> Resolver:
    """Return the resolver that sets one of a field's pairs, or removes it without a value."""

    def set_pair(_engine: Engine, old: Container, args: Args) -> Container:
        pairs: Any = with_pair(getattr(old, field), args[argument], args.value)
        return replace(old, **{field: pairs})

    return set_pair


def _set_fields(**values: Any) -> Resolver:
    return lambda _engine, old, _args: replace(old, **values)


def _get(name: str) -> Resolver:
    def get(_engine: Engine, old: Container, _args: Args) -> Any:
        found = getattr(old, name)
        return list(found) if isinstance(found, tuple) else found

    return get


def _with_env(_engine: Engine, old: Container, args: Args) -> Container:
    value = expand(old, args.value, args)
    secrets = with_pair(old.secrets, args.name, None)
    return replace(old, env=with_pair(old.env, args.name, value), secrets=secrets)


def _with_secret(_engine: Engine, old: Container, args: Args) -> Container:
    secrets = with_pair(old.secrets, args.name, args.secret)
    return replace(old, env=with_pair(old.env, args.name, None), secrets=secrets)


def _entrypoint(_engine: Engine, old: Container, args: Args) -> Container:
    new = replace(old, entrypoint=tuple(args.args or ()))
    return new if args.keepDefaultArgs else replace(new, args=(), args_set=False)


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
        plain_object(kind, name=key, value=value) for key, value in getattr(old, name)
    ]


def _health(_engine: Engine, old: Container, _args: Args) -> Args:
    # A Dagger engine answers null without one, which its Python client refuses.
    return Args((old.healthcheck or Healthcheck(test=("NONE",))).to_api())


async def _with_env_file(engine: Engine, old: Container, args: Args) -> Container:
    found: EnvFile = await engine.value(args.source)
    env, secrets = old.env, old.secrets
    for name, value in found.values().items():
        env, secrets = with_pair(env, name, value), with_pair(secrets, name, None)
    return replace(old, env=env, secrets=secrets)


#: Changes after which a container is still the image of `from`.
_NO_CHANGES = (
    *("withDefaultTerminalCmd", "withError", "withRegistryAuth", "withServiceBinding"),
    "withoutRegistryAuth",
)


def forgetting_image(resolvers: dict[str, Resolver]) -> dict[str, Resolver]:
    """Return resolvers of Container, those that change it without the name of its image."""
    changes = {
        name: _forgetting_image(resolver)
        for name, resolver in resolvers.items()
        if name.startswith("with") and name not in _NO_CHANGES
    }
    return resolvers | changes


def _forgetting_image(resolver: Resolver) -> Resolver:
    async def changed(engine: Engine, old: Container, args: Args) -> Container:
        found = resolver(engine, old, args)
        new: Container = await found if inspect.isawaitable(found) else found
        return replace(new, image_ref="")

    return changed


_FIELDS: dict[str, Resolver] = {
    "defaultArgs": _get("args"),
    "dockerHealthcheck": _health,
    "entrypoint": _get("entrypoint"),
    "envVariable": lambda _engine, old, args: dict(old.env).get(args.name),
    "envVariables": _pairs("EnvVariable", "env"),
    "exposedPorts": lambda _engine, old, _args: ports(old.ports),
    "label": lambda _engine, old, args: dict(old.labels).get(args.name),
    "labels": _pairs("Label", "labels"),
    "platform": _get("platform"),
    "user": _get("user"),
    "withAnnotation": _set_pair("annotations"),
    "withDefaultArgs": lambda _engine, old, args: replace(
        old, args=tuple(args.args), args_set=True
    ),
    "withDefaultTerminalCmd": lambda _engine, old, _args: old,  # only `terminal` would read it
    "withDockerHealthcheck": lambda _engine, old, args: replace(
        old, healthcheck=Healthcheck.from_args(args)
    ),
    "withEntrypoint": _entrypoint,
    "withEnvFileVariables": _with_env_file,
    "withEnvVariable": _with_env,
    "withExposedPort": _with_port,
    "withLabel": _set_pair("labels"),
    "withRegistryAuth": lambda _engine, old, args: replace(
        old, auth=with_pair(old.auth, args.address, (args.username, args.secret))
    ),
    "withSecretVariable": _with_secret,
    "withServiceBinding": lambda _engine, old, args: replace(
        old, services=(*old.services, (args.alias, args.service))
    ),
    "withUser": lambda _engine, old, args: replace(old, user=args.name),
    "withVolatileVariable": _set_pair("volatile"),
    "withWorkdir": lambda _engine, old, args: replace(old, workdir=absolute_path(old, args)),
    "withoutAnnotation": _set_pair("annotations"),
    "withoutDefaultArgs": _set_fields(args=(), args_set=False),
    "withoutDockerHealthcheck": _set_fields(healthcheck=None),
    "withoutEntrypoint": _entrypoint,
    "withoutEnvVariable": _set_pair("env"),
    "withoutExposedPort": _without_port,
    "withoutLabel": _set_pair("labels"),
    "withoutRegistryAuth": _set_pair("auth", "address"),
    "withoutSecretVariable": _set_pair("secrets"),
    "withoutUser": _set_fields(user=""),
    "withoutVolatileVariable": _set_pair("volatile"),
    "withoutWorkdir": _set_fields(workdir=""),
    "workdir": _get("workdir"),
}
register(
    "Container",
    forgetting_image(_FIELDS),
    withDefaultTerminalCmd={
        "experimentalPrivilegedNesting": False,
        "insecureRootCapabilities": False,
    },
)
