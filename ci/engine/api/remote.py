"""Fields of remote sources: files over HTTP, git repositories."""

import base64
from functools import partial
from typing import Any

import anyio.to_thread

from ci.engine.execution.session import Engine
from ci.engine.fields import Args, Resolver, register
from ci.engine.sources import git, http
from ci.engine.sources.git import Ref, Remote
from ci.engine.store.tree import FILE, Entry
from ci.engine.values import Directory, File


async def _text(engine: Engine, secret: Any) -> str:
    return (await engine.reveal(secret)).decode() if secret is not None else ""


async def _http(engine: Engine, _query: None, args: Args) -> File:
    header = await _text(engine, args.authHeader)
    headers = {"Authorization": header} if header else {}
    fetch = partial(http.fetch, engine.store, args.url, headers, args.checksum or "")
    digest, size = await anyio.to_thread.run_sync(fetch)
    engine.options.log(f"http {args.url} sha256:{digest}")
    mode = 0o600 if args.permissions is None else args.permissions
    name = args.name or http.name_of(args.url)
    return File(name=name, entry=Entry(FILE, mode, size=size, content=digest))


async def _git(engine: Engine, _query: None, args: Args) -> Remote:
    header = await _text(engine, args.httpAuthHeader)
    if token := await _text(engine, args.httpAuthToken):
        pair = f"{args.httpAuthUsername or 'x-access-token'}:{token}"
        header = f"Basic {base64.b64encode(pair.encode()).decode()}"
    remote = Remote(
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

    async def find(engine: Engine, old: Remote, args: Args) -> Ref:
        found = await git.resolve(old, prefix + args[argument].removeprefix(prefix))
        engine.options.log(f"git {old.url} {found.name} {found.commit}")
        return found

    return find


def _names(kind: str) -> Resolver:
    return lambda _engine, old, args: git.names(old, kind, args.patterns or [])


async def _tree(engine: Engine, old: Ref, args: Args) -> Directory:
    keep = old.remote.keep_git_dir and not args.discardGitDir
    found = await git.tree(
        engine.store, old, depth=args.depth, tags=bool(args.includeTags), keep_git_dir=keep
    )
    return Directory(tree=found)


async def _common_ancestor(engine: Engine, old: Ref, args: Args) -> Ref:
    return await git.common_ancestor(engine.store, old, await engine.value(args.other))


register(
    "GitRepository",
    {
        "branch": _ref("refs/heads/"),
        "branches": _names("heads"),
        "commit": _ref("", "id"),
        "head": lambda _engine, old, _args: git.resolve(old, "HEAD"),
        "latestVersion": lambda _engine, old, _args: git.latest(old),
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
