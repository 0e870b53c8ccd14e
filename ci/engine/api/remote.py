"""Fields of remote sources: files over HTTP, git repositories.

What reads them is imported when a program asks for it: httpx takes as long as the whole engine.
"""

import base64
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from ci.engine.execution.session import Engine
from ci.engine.fields import Args, Resolver, register
from ci.engine.store.tree import FILE, Entry
from ci.engine.values import Directory, File

if TYPE_CHECKING:
    from ci.engine.sources.git import Ref, Remote


async def _text(engine: Engine, secret: Any) -> str:
    return (await engine.reveal(secret)).decode() if secret is not None else ""


async def _http(engine: Engine, _query: None, args: Args) -> File:
    from ci.engine.sources import http

    header = await _text(engine, args.authHeader)
    headers = {"Authorization": header} if header else {}
    fetch = partial(http.fetch, engine.store, args.url, headers, args.checksum or "")
    digest, size = await anyio.to_thread.run_sync(fetch)
    engine.options.log(f"http {args.url} sha256:{digest}")
    mode = 0o600 if args.permissions is None else args.permissions
    name = args.name or http.name_of(args.url)
    return File(name=name, entry=Entry(FILE, mode, size=size, content=digest))


async def _git(engine: Engine, _query: None, args: Args) -> "Remote":
    from ci.engine.sources import git

    header = await _text(engine, args.httpAuthHeader)
    if token := await _text(engine, args.httpAuthToken):
        pair = f"{args.httpAuthUsername or 'x-access-token'}:{token}"
        header = f"Basic {base64.b64encode(pair.encode()).decode()}"
    remote = git.Remote(
        url=args.url,
        known_hosts=args.sshKnownHosts,
        header=header,
        keep_git_dir=args.keepGitDir,
    )
    return await git.with_protocol(remote)


register(
    "Query",
    {"git": _git, "http": _http},
    git={"sshAuthSocket": None, "experimentalServiceHost": None},
    http={"experimentalServiceHost": None},
)


def _ref(prefix: str, argument: str = "name") -> Resolver:
    """Return the resolver of the name in the arguments."""

    async def find(engine: Engine, old: "Remote", args: Args) -> "Ref":
        from ci.engine.sources import git

        found = await git.resolve(old, prefix + args[argument].removeprefix(prefix))
        engine.options.log(f"git {old.url} {found.name} {found.commit}")
        return found

    return find


def _names(kind: str) -> Resolver:
    async def names(_engine: Engine, old: "Remote", args: Args) -> list[str]:
        from ci.engine.sources import git

        return await git.names(old, kind, args.patterns or [])

    return names


async def _head(_engine: Engine, old: "Remote", _args: Args) -> "Ref":
    from ci.engine.sources import git

    return await git.resolve(old, "HEAD")


async def _latest(_engine: Engine, old: "Remote", _args: Args) -> "Ref":
    from ci.engine.sources import git

    return await git.latest(old)


async def _tree(engine: Engine, old: "Ref", args: Args) -> Directory:
    from ci.engine.sources import git

    keep = old.remote.keep_git_dir and not args.discardGitDir
    found = await git.tree(
        engine.store, old, depth=args.depth, tags=bool(args.includeTags), keep_git_dir=keep
    )
    return Directory(tree=found)


async def _common_ancestor(engine: Engine, old: "Ref", args: Args) -> "Ref":
    from ci.engine.sources import git

    return await git.common_ancestor(engine.store, old, await engine.value(args.other))


register(
    "GitRepository",
    {
        "branch": _ref("refs/heads/"),
        "branches": _names("heads"),
        "commit": _ref("", "id"),
        "head": _head,
        "latestVersion": _latest,
        "ref": _ref(""),
        "tag": _ref("refs/tags/"),
        "tags": _names("tags"),
        "url": lambda _engine, old, _args: old.url,
    },
)
register(
    "GitRef",
    {
        "commit": lambda _engine, old, _args: old.commit,
        "commonAncestor": _common_ancestor,
        "ref": lambda _engine, old, _args: old.name,
        "tree": _tree,
    },
)
