"""Dockerfiles and `.dockerignore` files, as the builder of the Docker API needs them.

That builder is Docker's old one; BuildKit, and so Dagger, differs in who owns the directory of a
WORKDIR, and lets no COPY see a Dockerfile that `.dockerignore` excludes.
"""

import json
import re
from collections.abc import Iterator, Mapping

from ci.engine.store import patterns, tree
from ci.engine.store.cache import Store
from ci.engine.store.tree import FILE, Entry, Tree, lookup, with_file

IGNORE_FILE = ".dockerignore"
_FROM = re.compile(r"^(\s*FROM\s+(?:--\S+\s+)*)(\S+)", re.IGNORECASE | re.MULTILINE)
_STAGE = re.compile(r"FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)
_ESCAPE = re.compile(r"#\s*escape\s*=\s*(\S)", re.IGNORECASE)
_ROOT = re.compile(r"(?:0|root)(?::.*)?")


def without_ignored(store: Store, context: Tree, dockerfile: str, *, podman: bool = False) -> Tree:
    """Return a build's context without the paths in `.dockerignore`.

    A `NAME.dockerignore` beside the Dockerfile replaces the one of the context. The Dockerfile
    itself stays, and `.dockerignore` as well: by it the builder removes both before the first COPY
    if they are excluded. Podman 5 applies `.dockerignore` in any case, so there it is empty if
    another file replaces it.
    """
    dockerfile = tree.clean(dockerfile)
    own = f"{dockerfile}{IGNORE_FILE}"
    name = next((each for each in (own, IGNORE_FILE) if each in context.entries), None)
    if name is None:
        return context
    lines = patterns.dockerignore(store.read(context.entries[name].content))
    kept = tree.select(context, (), lines)
    if name == IGNORE_FILE:
        kept = with_file(kept, name, context.entries[name])
    elif dockerfile not in kept.entries and IGNORE_FILE not in kept.entries:
        data = f"{dockerfile}\n{IGNORE_FILE}\n".encode()
        entry = Entry(FILE, 0o644, size=len(data), content=store.add_bytes(data))
        kept = with_file(kept, IGNORE_FILE, entry)
    elif podman and IGNORE_FILE in kept.entries:
        nothing = kept.entries[IGNORE_FILE]._replace(size=0, content=store.add_bytes(b""))
        kept = with_file(kept, IGNORE_FILE, nothing)
    return with_file(kept, dockerfile, lookup(context, dockerfile)[1])


def bases(dockerfile: str) -> list[str]:
    """Return the names after FROM: of images and of other stages."""
    return [name for _, name in _FROM.findall(dockerfile)]


def with_substitutes(dockerfile: str, images: Mapping[str, str]) -> str:
    """Return a Dockerfile whose FROM lines name the substitutes of their images."""
    return _FROM.sub(lambda hit: hit[1] + images.get(hit[2], hit[2]), dockerfile)


def with_owned_workdirs(dockerfile: str, users: Mapping[str, str], empty: str) -> str:
    """Return a Dockerfile in which the USER owns the directory that a WORKDIR creates.

    A COPY before each WORKDIR creates it; one that exists keeps its owner.

    Args:
        dockerfile: its text.
        users: the users of base images, by their name.
        empty: an image with an empty directory `/empty`.
    """
    stages: dict[str, str] = dict(users)
    stage = user = ""
    found: list[str] = []
    for text in _instructions(dockerfile):
        word, _, rest = text.strip().partition(" ")
        if hit := _STAGE.match(text.strip()):
            user, stage = stages.get(hit[1].lower(), stages.get(hit[1], "")), (hit[2] or "").lower()
        elif word.upper() == "USER":
            user = rest.strip()
        elif word.upper() == "WORKDIR" and user and not _ROOT.fullmatch(user):
            place = json.dumps(f"{rest.strip()}/")
            found.append(f'COPY --from={empty} --chown={user} ["/empty/", {place}]\n')
        stages[stage] = user
        found.append(text)
    return "".join(found)


def _instructions(dockerfile: str) -> Iterator[str]:
    """Yield the lines of a Dockerfile, continued ones together, with their line ends."""
    hit = _ESCAPE.match(dockerfile)
    escape = hit[1] if hit else "\\"
    text = ""
    for line in dockerfile.splitlines(keepends=True):
        text += line
        comment = line.lstrip().startswith("#")
        if not line.rstrip().endswith(escape) and not (comment and text != line):
            yield text
            text = ""
    yield text
