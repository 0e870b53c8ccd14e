"""The containers that every stage starts from."""

import dagger
from dagger import dag

UV = "/opt/uv/bin/uv"
VENV = "/opt/venv"
SOURCE = "/src"
#: Left out of every view of the source: what tools and runs leave behind.
IGNORE = [
    "**/__pycache__",
    "**/.*_cache",
    "**/*.pyc",
    "**/.coverage*",
    "**/.env*",
    "**/.hypothesis",
    "**/.schemathesis",
    ".git",
    ".venv*",
    "plan.json",
    "results",
    "sdk",
]


def python(image: str, platform: str | None = None) -> dagger.Container:
    """Return a container of the base image, which has `python3` with `venv`.

    Without a platform (such as `linux/amd64`) it is the engine's own.
    """
    chosen = dagger.Platform(platform) if platform else None
    return dag.container(platform=chosen).from_(image)


def with_uv(base: dagger.Container, locks: dagger.Directory) -> dagger.Container:
    """Add the pinned uv at `UV`, apart from any environment that it fills."""
    return (
        base.with_env_variable("PYTHONDONTWRITEBYTECODE", "1")
        .with_exec(["python3", "-m", "venv", "/opt/uv"])
        .with_mounted_file("/run/uv.lock", locks.file("uv.lock"))
        .with_exec(
            ["/opt/uv/bin/pip", "install", "--quiet", "--require-hashes", "-r", "/run/uv.lock"]
        )
        .without_mount("/run/uv.lock")
    )


def environment(base: dagger.Container, locks: dagger.Directory, group: str) -> dagger.Container:
    """Add a virtual environment at `VENV` with exactly what `locks/{group}.lock` names.

    Byte code is compiled once and marked as never to be checked against its source, so that it
    stays valid when timestamps are levelled for a reproducible image.
    """
    lock = f"/run/{group}.lock"
    return (
        with_uv(base, locks)
        .with_mounted_cache("/var/cache/uv", dag.cache_volume("acso-uv"))
        .with_env_variable("UV_CACHE_DIR", "/var/cache/uv")
        .with_env_variable("UV_LINK_MODE", "copy")
        .with_env_variable("PYC_INVALIDATION_MODE", "UNCHECKED_HASH")
        .with_env_variable("VIRTUAL_ENV", VENV)
        .with_exec([UV, "venv", "--quiet", "--no-python-downloads", VENV])
        .with_mounted_file(lock, locks.file(f"{group}.lock"))
        .with_exec([UV, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", lock])
        .without_mount(lock)
    )


async def tools(image: str, source: dagger.Directory, group: str) -> dagger.Container:
    """Return a container with the tools of one lock group first on the path, in `SOURCE`.

    It is made when this returns: what is branched from it names it by its id, so that its steps
    are not told to the engine once more with every branch.
    """
    return await (
        environment(python(image), source.directory("locks"), group)
        .with_env_variable("PATH", f"{VENV}/bin:/usr/local/bin:/usr/bin:/bin")
        .with_workdir(SOURCE)
        .sync()
    )


def part(source: dagger.Directory, *patterns: str) -> dagger.Directory:
    """Return what the patterns name (`!` leaves out), so that nothing else reruns the stage."""
    include = [pattern for pattern in patterns if not pattern.startswith("!")]
    exclude = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return source.filter(include=include, exclude=exclude)
