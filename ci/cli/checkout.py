"""What git knows of the checkout: for the release record, and for the order of releases."""

import getpass
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from ci.release.options import Relation

COMMIT = re.compile(r"[0-9a-f]{7,64}")


def state(root: Path) -> dict[str, Any]:
    """Return the commit and branch, whether there are uncommitted changes, and the user."""
    return {
        "commit": _git(root, "rev-parse", "HEAD"),
        "branch": _git(root, "rev-parse", "--abbrev-ref", "HEAD"),
        "dirty": bool(_git(root, "status", "--porcelain")),
        "actor": _user(),
    }


def relation(root: Path, commit: str) -> Relation:
    """Return how a commit relates to the checkout's; CONTAINED if git cannot say.

    It cannot without git or commits, and in a shallow clone, which lacks what came before.
    """
    history = _git(root, "rev-parse", "--is-shallow-repository", "HEAD")
    if not COMMIT.fullmatch(commit) or not history.startswith("false"):
        return Relation.CONTAINED
    if not _git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"):
        return Relation.UNKNOWN
    base = _git(root, "merge-base", commit, "HEAD")
    if base.startswith(commit):
        return Relation.CONTAINED
    return Relation.NEWER if base == _git(root, "rev-parse", "HEAD") else Relation.DIVERGED


def _git(root: Path, *arguments: str) -> str:
    """Return what git prints, empty if it fails or there is no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=False,
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return str(os.getuid())
