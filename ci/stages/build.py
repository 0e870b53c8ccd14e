"""The agents' images: dependencies in one shared layer, an agent's code in a thin last one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dagger

from ci.config import Agent, Project
from ci.errors import StageError
from ci.stages.base import VENV, environment, part, python

USER = "10001:10001"
APP = "/app"
#: Levelled modification times make the same content the same layer; 1980 is the zip format's zero.
EPOCH = 315532800
#: The AWS services whose models stay in the images: those of all others are three quarters of the
#: size of an agent's packages. botocore names the known services if another one is asked for.
AWS_SERVICES = ("bedrock-runtime", "dynamodb", "secretsmanager", "sts")
#: How images are made is part of what they are made of: this file.
RECIPE = Path(__file__).read_bytes()


@dataclass(frozen=True, kw_only=True)
class Built:
    """One agent's image and the content version that names it."""

    agent: str
    version: str
    container: dagger.Container


async def build(
    source: dagger.Directory, project: Project, agents: tuple[Agent, ...]
) -> list[Built]:
    """Describe the images of these agents; nothing runs before one is synced or published.

    Raises:
        StageError: the engine's base image is of another platform than acso.toml names.
    """
    base = await _base(project)
    versions = await content_versions(source, project, agents)
    dependencies = _dependencies(source, base)
    return [
        Built(
            agent=agent.name,
            version=versions[agent.name],
            container=_image(source, base, dependencies, agent, versions[agent.name]),
        )
        for agent in agents
    ]


async def content_versions(
    source: dagger.Directory, project: Project, agents: tuple[Agent, ...]
) -> Mapping[str, str]:
    """Return each agent's version: a hash of all that its image is made of and nothing else.

    That is its code, the common code, the locked dependencies, the platform, the base image's
    digest (not its name, which engines write in different ways) and the recipe in this file. The
    same content has the same version at every commit and on every engine, so it is computed from
    file contents in a container, not from an engine's own digests.
    """
    base = python(project.base_image, project.platform)
    reference = await base.image_ref() or project.base_image
    recipe = recipe_digest(project.platform, reference)
    listing = (
        base.with_mounted_directory("/src", part(source, "agents/**/*.py", "locks/agents.lock"))
        .with_workdir("/src")
        .with_exec(["sh", "-c", "find . -type f -print0 | sort -z | xargs -0 sha256sum"])
    )
    lines = [line.split("  ./", 1) for line in (await listing.stdout()).splitlines()]
    return {
        agent.name: content_version(recipe, {path: digest for digest, path in lines}, agent)
        for agent in agents
    }


def recipe_digest(platform: str, base: str) -> str:
    """Return the digest of how images are made.

    Args:
        platform: such as `linux/amd64`.
        base: reference of the base image; its digest counts if it has one, else the whole.
    """
    digest = base.rpartition("@")[2]
    return hashlib.sha256(RECIPE + f"{platform} {digest}".encode()).hexdigest()


def content_version(recipe: str, digests: Mapping[str, str], agent: Agent) -> str:
    """Return twelve hex digits for an agent: of the recipe and of every file of its image.

    Folders of other agents do not count, whether they are in acso.toml or not: an agent that is
    removed from it must not change the others.

    Args:
        recipe: digest of how images are made.
        digests: SHA-256 of each file, by path.
        agent: whose version it is.
    """
    mine = ("agents/common/", f"agents/{agent.package}/")
    own = "".join(
        f"{path} {digest}\n"
        for path, digest in sorted(digests.items())
        if path.startswith(mine) or path.count("/") == 1  # agents/*.py and locks/*.lock
    )
    return hashlib.sha256(f"{recipe}\n{agent.name}\n{agent.port}\n{own}".encode()).hexdigest()[:12]


async def _base(project: Project) -> dagger.Container:
    base = python(project.base_image, project.platform)
    try:
        found = await base.platform()
    except dagger.QueryError as error:
        hint = "check `base_image` and `platform` in acso.toml"
        raise StageError(str(error), hint=hint) from error
    if found != project.platform:
        message = f"{project.base_image} is for {found}, not for {project.platform}"
        hint = "build where the engine can run it, or change `platform` in acso.toml"
        raise StageError(message, hint=hint)
    return base


def _dependencies(source: dagger.Directory, base: dagger.Container) -> dagger.Directory:
    # In the container and without following links: a Dagger engine's `withTimestamps` follows
    # them, and a virtual environment's lead to absolute paths that only exist in the container.
    level = f"find {VENV} -exec touch -h -d @{EPOCH} {{}} +"
    kept = " ".join(f"! -name {service}" for service in AWS_SERVICES)
    models = f"{VENV}/lib/python*/site-packages/botocore/data"
    trim = f"find {models} -mindepth 1 -maxdepth 1 -type d {kept} -exec rm -r {{}} +"
    filled = environment(base, part(source, "locks/*.lock").directory("locks"), "agents")
    return filled.with_exec(["sh", "-c", f"{trim} && {level}"]).directory(VENV)


def _image(
    source: dagger.Directory,
    base: dagger.Container,
    dependencies: dagger.Directory,
    agent: Agent,
    version: str,
) -> dagger.Container:
    shared = ("agents/*.py", "agents/common/**/*.py")
    own = f"agents/{agent.package}/**/*.py"
    return (
        base.with_directory(VENV, dependencies)
        .with_directory(APP, part(source, *shared).with_timestamps(EPOCH))
        .with_directory(APP, part(source, own).with_timestamps(EPOCH))
        .with_env_variable("PATH", f"{VENV}/bin:/usr/local/bin:/usr/bin:/bin")
        .with_env_variable("PYTHONDONTWRITEBYTECODE", "1")
        .with_env_variable("PYTHONUNBUFFERED", "1")
        # Agents listen on loopback by default; inside its own container one must be reachable.
        .with_env_variable("HOST", "0.0.0.0")  # noqa: S104  # nosec B104
        .with_env_variable("PORT", str(agent.port))
        .with_exposed_port(agent.port)
        .with_workdir(APP)
        .with_user(USER)
        .with_label("org.opencontainers.image.title", agent.repository)
        .with_label("org.opencontainers.image.version", version)
        .with_label("org.opencontainers.image.licenses", "Apache-2.0")
        # No entrypoint: a task's command override (run-task) replaces CMD, never ENTRYPOINT.
        .without_entrypoint()
        .with_default_args(["python", "-m", f"agents.{agent.package}"])
    )
