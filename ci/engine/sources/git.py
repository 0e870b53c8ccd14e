"""Git repositories by the git program of this host, with its own configuration and credentials."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from ci.engine.errors import EngineError
from ci.engine.sources import host_files
from ci.engine.store.cache import Store, key_of
from ci.engine.store.tree import Tree

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)\Z")
#: Time of all files, as in Dagger: some programs take the time 0 for that of a missing file.
_TIME = 1
#: What git says where a repository needs credentials that it has not.
_REFUSED = re.compile(r"Authentication failed|could not read (Username|Password)")
#: Variables by which a git hook around this process names another repository.
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A repository: its URL and how to authenticate."""

    url: str
    known_hosts: str = ""  # lines of a known_hosts file; empty: the host's own
    header: str = field(default="", repr=False)  # value of Authorization, over HTTP
    keep_git_dir: bool = True  # `.git` is part of its trees


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A name in a repository, and its commit at the time of the request."""

    remote: Remote
    name: str
    commit: str


async def run(remote: Remote, *arguments: str) -> str:
    """Run git and return its output; raises `EngineError` with its error message."""
    with _environment(remote) as env:
        try:
            done = await anyio.run_process(["git", *arguments], check=False, env=env, umask=0o022)
        except FileNotFoundError as error:
            raise EngineError("git is not installed on this host; install it") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise EngineError(f"git {remote.url}: {said or f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="replace")


@contextmanager
def _environment(remote: Remote) -> Iterator[dict[str, str]]:
    """Yield the environment of git. It holds the header: other users can see arguments."""
    env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    env |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    if remote.header:
        # For the repository's host only: submodules may be on another one.
        root = urlsplit(remote.url)
        name = f"http.{root.scheme}://{root.netloc}/.extraHeader"
        env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": name}
        env["GIT_CONFIG_VALUE_0"] = f"Authorization: {remote.header}"
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as hosts:
        if remote.known_hosts:
            hosts.write(remote.known_hosts + "\n")
            hosts.flush()
            options = f"-o UserKnownHostsFile={hosts.name} -o StrictHostKeyChecking=yes"
            env["GIT_SSH_COMMAND"] = f"ssh {options}"
        yield env


async def with_protocol(remote: Remote) -> Remote:
    """Return a repository whose URL has a protocol: HTTPS, or SSH if that needs credentials.

    A path of this host stays as it is.
    """
    url = remote.url
    if "://" in url or ":" in url.partition("/")[0] or await anyio.Path(url).exists():
        return remote
    if url.startswith(("/", ".")):
        return remote
    found = replace(remote, url=f"https://{url}")
    try:
        await refs(found)
    except EngineError as error:
        if not _REFUSED.search(str(error)):
            raise
        return replace(remote, url=f"ssh://git@{url}")
    return found


# --- names ----------------------------------------------------------------------------------
async def refs(remote: Remote, *arguments: str) -> dict[str, str]:
    """Return the commits of a repository by name; for `HEAD` the name that it points to."""
    text = await run(
        remote, "ls-remote", "--symref", *arguments[:1], "--", remote.url, *arguments[1:]
    )
    found: dict[str, str] = {}
    for line in text.splitlines():
        what, _, name = line.partition("\t")
        if what.startswith("ref: "):
            found["HEAD"] = what.removeprefix("ref: ")
        elif name.endswith("^{}"):  # the commit of an annotated tag
            found[name.removesuffix("^{}")] = what
        elif name != "HEAD" or "HEAD" not in found:
            found[name] = what
    return found


async def names(remote: Remote, kind: str, patterns: list[str]) -> list[str]:
    """Return the short names of branches (`heads`) or `tags` that match any of the patterns."""
    found = await refs(remote, f"--{kind}", *patterns)
    prefix = f"refs/{kind}/"
    return sorted(name.removeprefix(prefix) for name in found if name.startswith(prefix))


async def resolve(remote: Remote, name: str) -> Ref:
    """Return the commit of a name: a commit, a full name, a branch, a tag, or `HEAD`.

    Raises:
        EngineError: the repository has no such name.
    """
    if _COMMIT.fullmatch(name):
        return Ref(remote=remote, name=name, commit=name)
    found = await refs(remote)
    name = found.get("HEAD", name) if name == "HEAD" else name
    for full in (name, f"refs/heads/{name}", f"refs/tags/{name}"):
        if full in found:
            return Ref(remote=remote, name=full, commit=found[full])
    raise EngineError(f"git {remote.url}: no branch, tag or commit is named {name!r}")


async def latest(remote: Remote) -> Ref:
    """Return the tag with the highest version; raises `EngineError` if no tag is a version."""
    found = [(hit, tag) for tag in await names(remote, "tags", []) if (hit := _VERSION.match(tag))]
    if not found:
        raise EngineError(f"git {remote.url}: no tag is a version such as v1.2.3")
    newest = max(found, key=lambda pair: [int(part) for part in pair[0].groups()])[1]
    return await resolve(remote, f"refs/tags/{newest}")


# --- contents -------------------------------------------------------------------------------
async def tree(store: Store, ref: Ref, *, depth: int, tags: bool, keep_git_dir: bool) -> Tree:
    """Return the files of a commit, from the store if they were fetched before.

    With `keep_git_dir`, `.git` has `depth` commits of history (0: all), and `tags`.
    """
    key = key_of("git tree", ref.remote.url, ref.commit, [depth, tags] if keep_git_dir else [])
    if known := store.get_tree(key):
        return known
    with tempfile.TemporaryDirectory(dir=store.root / "tmp") as folder:
        await _fetch(ref, folder, depth=depth, tags=tags)
        await run(ref.remote, "-C", folder, "checkout", "--quiet", "--detach", ref.commit)
        if await anyio.Path(folder, ".gitmodules").exists():
            words = ("submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1")
            await run(ref.remote, "-C", folder, *words)
        await run(ref.remote, "-C", folder, "read-tree", "HEAD")  # an index without times
        found = await anyio.to_thread.run_sync(_read, store, Path(folder), keep_git_dir)
    store.set(key, store.save(found))
    return found


async def _fetch(ref: Ref, folder: str, *, depth: int, tags: bool) -> None:
    await run(ref.remote, "init", "--quiet", "--template=", folder)
    await run(ref.remote, "-C", folder, "remote", "add", "--", "origin", ref.remote.url)
    words = ["-C", folder, "fetch", "--quiet", "--tags" if tags else "--no-tags"]
    words += ["--depth", str(depth)] if depth > 0 else []
    try:
        await run(ref.remote, *words, "origin", ref.commit)
    except EngineError:  # an old server sends commits by name only
        if not ref.name.startswith("refs/"):
            raise
        await run(ref.remote, *words, "origin", ref.name)


def _read(store: Store, folder: Path, keep_git_dir: bool) -> Tree:
    inner = folder / ".git"
    (inner / "FETCH_HEAD").unlink(missing_ok=True)
    shutil.rmtree(inner / "logs", ignore_errors=True)
    found = host_files.upload(
        store, folder, exclude=[] if keep_git_dir else [".git"], remember=False
    )
    return Tree({path: entry._replace(mtime=_TIME) for path, entry in found.entries.items()})


async def common_ancestor(store: Store, one: Ref, other: Ref) -> Ref:
    """Return the last commit that is in both refs; raises `EngineError` if there is none."""
    with tempfile.TemporaryDirectory(dir=store.root / "tmp") as folder:
        await _fetch(one, folder, depth=0, tags=False)
        await run(
            other.remote, "-C", folder, "fetch", "--quiet", "--", other.remote.url, other.commit
        )
        text = await run(one.remote, "-C", folder, "merge-base", one.commit, other.commit)
    return Ref(remote=one.remote, name=text.strip(), commit=text.strip())
