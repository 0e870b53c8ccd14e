"""Trees in a few words, for tests of what is done with them."""

from hypothesis import strategies as st

from ci.engine.store.patterns import parents
from ci.engine.store.tree import FILE, FOLDER, LINK, Entry, Tree

NAMES = st.text(alphabet="abü ☃*\n", min_size=1, max_size=4).filter(lambda n: n.strip("./ "))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def file(text: str = "", mode: int = 0o644, owner: int = 0) -> Entry:
    """Return a file; its content is the text itself, as no store is asked for it."""
    return Entry(FILE, mode, owner, owner, size=len(text), content=text)


def link(target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(LINK, 0o777, size=len(target), content=target)


def of(*paths: str, **entries: Entry) -> Tree:
    """Return a tree of files, whose content is their path, and of entries by path.

    A path that ends with a slash is a directory.
    """
    found: dict[str, Entry] = {"": FOLDER}
    for path in (*paths, *entries):
        name = path.rstrip("/")
        found |= dict.fromkeys(parents(name), FOLDER)
        found[name] = FOLDER if path.endswith("/") else entries.get(path, file(path))
    return Tree(found)
