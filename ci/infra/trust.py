"""Whom the roles of an environment trust: the subjects of GitHub's identity tokens.

A subject names the repository and what the job runs for: a branch, or the GitHub environment that
the job names. Source: GitHub Docs, "OpenID Connect reference", "Example subject claims" and
"Immutable subject claims".
"""

import re
from collections.abc import Sequence

from ci.config import Config, Environment, Project

DEPLOY, PROMOTE = "deploy", "promote"  # roles of an environment, as the end of their names
IMMUTABLE = re.compile(r"repo:([^/@:]+)@(\d+)/([^/@:]+)@(\d+):(.+)")
CLASSIC = re.compile(r"repo:([^/@:]+)/([^/@:]+):(.+)")


def role(env: Environment, kind: str) -> str:
    """Return the name of an environment's role."""
    return f"{env.prefix}-{kind}"


def subjects(config: Config, env: Environment, kind: str = DEPLOY) -> tuple[str, ...]:
    """Return the subjects that a role of an environment trusts: exact texts, no patterns.

    The deploy role trusts the environment's branch and, if a release deploys it, the GitHub
    environment of the same name; never a tag, which everybody who may push can make. The promote
    role trusts the GitHub environments of the environments that promote from this one.
    """
    if not config.project.repository:
        return ()
    contexts = [f"ref:refs/heads/{env.branch}"] if env.branch and kind == DEPLOY else []
    environments = config.environments.values()
    released = [env] if kind == DEPLOY else [e for e in environments if e.promotes_from == env.name]
    contexts += [f"environment:{item.name}" for item in released if item.event == "release"]
    return tuple(f"repo:{repository(config.project)}:{context}" for context in contexts)


def repository(project: Project) -> str:
    """Return the project's repository as its tokens' subjects spell it."""
    name = project.repository or ""
    if not project.owner_id:
        return name
    owner, _, short = name.partition("/")
    return f"{owner}@{project.owner_id}/{short}@{project.repository_id}"


def advice(found: str, trusted: Sequence[str]) -> str:
    """Return what to change so that a role trusts the subject found in a token; pure."""
    if found in trusted:
        return (
            "apply the role as acso.toml has it, with an administrator's credentials: acso deploy"
        )
    mine, theirs = _parts(found), [_parts(item) for item in trusted]
    if mine is None:
        return "the token is not of a GitHub job whose subject has the default form"
    if not theirs:
        return "no job may assume this role: give acso.toml a repository, and a branch or event"
    name, ids, context = mine
    known = [item for item in theirs if item is not None]
    if all(item[0] != name for item in known):
        return f'set repository = "{name}" in [project] of acso.toml, if this is the repository'
    if all(item[1] != ids for item in known):
        return _about_ids(ids)
    return (
        f"the job runs for {context}; only {' or '.join(item[2] for item in known)} may assume the "
        "role (a branch is the pushed one, an environment the job's `environment:`)"
    )


def _about_ids(ids: tuple[str, ...]) -> str:
    if not ids:
        return "remove owner_id and repository_id in [project] of acso.toml, and apply the role"
    owner, number = ids
    return (
        f'set owner_id = "{owner}" and repository_id = "{number}" in [project] of acso.toml, and '
        "apply the role"
    )


def _parts(subject: str) -> tuple[str, tuple[str, ...], str] | None:
    """Return repository, ids (none in a classic subject) and context of a subject."""
    if found := IMMUTABLE.fullmatch(subject):
        return f"{found[1]}/{found[3]}", (found[2], found[4]), found[5]
    if found := CLASSIC.fullmatch(subject):
        return f"{found[1]}/{found[2]}", (), found[3]
    return None
