"""Infrastructure in two phases: what a release needs is added before it, the rest removed after it.

A release moves services from one state of the stack to another. While it runs, and while it may
still be rolled back, both states are needed: the resources of agents that come and of those that
go, and target groups that find the tasks of both healthy.
"""

from collections.abc import Mapping

from ci.aws.cloudformation import DesiredStack
from ci.errors import InfrastructureError
from ci.infra.templates import HEALTH_CODES, Mapped, mapped, with_agents

#: Health codes of a target group whose path changes: tasks that do not know the path answer 404 or
#: the like. They are still checked by ECS's own health check, and the new ones by the release.
ANY_ANSWER = "200-499"


def extended(current: DesiredStack | None, to: DesiredStack, *, back: bool = False) -> DesiredStack:
    """Return the stack with all that the current one has, and all that the next one needs; pure.

    Args:
        current: the stack as it is; None if it does not exist.
        to: the stack as it is to be after the release.
        back: whether that is an earlier state. The template stays then: an earlier one may miss
            resources that running services use.

    Raises:
        InfrastructureError: an agent's new name has the logical ids of an old one.
    """
    if current is None:
        return to
    old, new = mapped(current.template), mapped(to.template)
    agents = _merged(old, new)
    template, parameters = (to.template, to.parameters)
    if back:
        known = current.parameters
        template = current.template
        parameters = {**known, **{name: to.parameters.get(name, known[name]) for name in known}}
    parameters = {**parameters, "Agents": ",".join(agents), **_widened(current, to)}
    return DesiredStack(
        name=to.name,
        template=with_agents(template, agents),
        parameters=parameters,
        tags=to.tags,
    )


def covers(current: DesiredStack, to: DesiredStack) -> bool:
    """Return whether the stack as it is has all that the services of another state need; pure."""
    both = extended(current, to, back=True)
    needed = ("FirstPort", "LastPort", "Exec")
    return mapped(both.template) == mapped(current.template) and all(
        both.parameters.get(name) == current.parameters.get(name) for name in needed
    )


def _merged(old: Mapped, new: Mapped) -> dict[str, dict[str, str]]:
    """Return the mapping of all agents, with the values of the new one."""
    _refuse_same_ids(old, new)
    # An order that leaves one of the two templates as it is, where that is possible.
    keys = [*old, *new] if old.keys() - new.keys() else [*new]
    return {key: _values(old.get(key), new.get(key)) for key in dict.fromkeys(keys)}


def _refuse_same_ids(old: Mapped, new: Mapped) -> None:
    for key in old.keys() & new.keys():
        before, after = old[key]["Name"], new[key]["Name"]
        if before != after:
            message = f"agent {after} has the same logical ids as {before}, which it replaces"
            hint = f"first deploy without {before}, then with {after}; or choose another name"
            raise InfrastructureError(message, hint=hint)


def _values(old: Mapping[str, str] | None, new: Mapping[str, str] | None) -> dict[str, str]:
    """Return the values of one agent, at least one of which exists."""
    values = dict(new or old or {})
    values.setdefault("HealthCodes", HEALTH_CODES)
    if old and new and not _same_check({"HealthCodes": HEALTH_CODES, **old}, values):
        values["HealthCodes"] = ANY_ANSWER
    return values


def _same_check(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    return all(old.get(name) == new.get(name) for name in ("HealthPath", "HealthCodes"))


def _widened(current: DesiredStack, to: DesiredStack) -> dict[str, str]:
    """Return the parameters that must serve both states: ports, and whether ECS Exec is allowed."""
    both = [current.parameters, to.parameters]
    if not all("FirstPort" in parameters for parameters in both):
        return {}
    return {
        "FirstPort": str(min(int(parameters["FirstPort"]) for parameters in both)),
        "LastPort": str(max(int(parameters["LastPort"]) for parameters in both)),
        "Exec": "true" if any(item.get("Exec") == "true" for item in both) else "false",
    }
