"""Infrastructure in two phases: what a release needs is added before it, the rest removed after it.

A release moves services from one state of the stack to another. While it runs, and while it may
still be rolled back, both states are needed: the resources of agents that come and of those that
go, target groups that find the tasks of both healthy, and what the tasks of both may read and do.
Autoscaling is changed after the release: its target must exist, so a service comes first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ci.aws.cloudformation import DesiredStack
from ci.config.environments import NATS
from ci.errors import InfrastructureError
from ci.infra.generated import METADATA, Document, Facts, facts_of, with_facts
from ci.infra.templates import HEALTH_CODES, Mapped, mapped, with_agents, within_limits

#: Health codes of a target group whose path changes: tasks that do not know the path answer 404 or
#: the like. They are still checked by ECS's own health check, and the new ones by the release.
ANY_ANSWER = "200-499"
SCALING = ("Min", "Max", "Cpu", "Requests")  # of an agent's values
NAMES = ("Tls", "Domain", "HostedZone", "Certificate")
#: Parameters whose change would replace what cannot be replaced in place, with the values of stacks
#: of earlier versions, and the setting of acso.toml.
FIXED = {
    "Internal": ("false", "load_balancer.internal"),
    "VpcId": ("", "network.vpc"),
    "VpcCidr": ("10.0.0.0/16", "network.vpc_cidr"),
}


def extended(current: DesiredStack | None, to: DesiredStack, *, back: bool = False) -> DesiredStack:
    """Return the stack with all that the current one has, and all that the next one needs; pure.

    Args:
        current: the stack as it is; None if it does not exist.
        to: the stack as it is to be after the release.
        back: whether that is an earlier state. The template stays then: an earlier one may miss
            resources that running services use.

    Raises:
        InfrastructureError: an agent's new name has the logical ids of an old one, or a setting
            changes that is fixed once the environment exists.
    """
    if current is None:
        return _unscaled(to)
    refuse_fixed(current, to)
    old, new = mapped(current.template), mapped(to.template)
    agents = _merged(old, new)
    template, parameters = (to.template, to.parameters)
    if back:
        known = current.parameters
        template = current.template
        parameters = {**known, **{name: to.parameters.get(name, known[name]) for name in known}}
    kept = {**_widened(current, to), **_kept(current.parameters, parameters)}
    return DesiredStack(
        name=to.name,
        template=_with_facts_of_both(with_agents(template, agents), current, to),
        parameters={**parameters, "Agents": ",".join(agents), **kept},
        tags=to.tags,
    )


def _unscaled(stack: DesiredStack) -> DesiredStack:
    """Return a new stack without autoscaling: its services do not exist yet."""
    agents = {key: _without(values) for key, values in mapped(stack.template).items()}
    if agents == mapped(stack.template):
        return stack
    template = with_facts(with_agents(stack.template, agents), facts_of(stack.template))
    return replace(stack, template=template, parameters={**stack.parameters, "Scaled": ""})


def _with_facts_of_both(template: str, current: DesiredStack, to: DesiredStack) -> str:
    old, new = facts_of(current.template), facts_of(to.template)
    if METADATA not in to.template:  # of an earlier version
        new = old
    both = _merged_facts(old, new)
    found = with_facts(template, both)
    # Plain HTTP keeps its own rules beside those of HTTPS, unless these are too many resources.
    return (
        found
        if within_limits(found)
        else with_facts(template, replace(both, listeners=new.listeners))
    )


def _merged_facts(old: Facts, new: Facts) -> Facts:
    keys = _union(list(old.policies), list(new.policies))
    return Facts(
        listeners=_union(old.listeners, new.listeners),
        cidrs=_union(old.cidrs, new.cidrs),
        secrets=tuple(sorted({*old.secrets, *new.secrets})),
        policies={key: _policy(old.policies.get(key), new.policies.get(key)) for key in keys},
        subscriptions=_union(old.subscriptions, new.subscriptions),
    )


def _union(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """Return the items of both, in the order of the one that has more, if one has all."""
    return tuple(dict.fromkeys([*old, *new] if set(old) - set(new) else new))


def _policy(old: Document | None, new: Document | None) -> Document:
    """Return a policy that allows what either allows, and denies what both deny."""
    if old is None or new is None or old == new:
        return new or old or {}
    before, after = old["Statement"], new["Statement"]
    allowed = [item for item in before if item["Effect"] == "Allow" and item not in after]
    kept = [item for item in after if item["Effect"] == "Allow" or item in before]
    return {**new, "Statement": [*allowed, *kept]}


def refuse_fixed(current: DesiredStack, to: DesiredStack) -> None:
    """Raise `InfrastructureError` for a change of what is fixed once an environment exists."""
    for name, (default, setting) in FIXED.items():
        before = current.parameters.get(name, default)
        after = to.parameters.get(name, before)
        if before != after:
            message = f"{setting} of {to.name} cannot change from {before!r} to {after!r}"
            hint = "it is fixed once an environment exists: make another environment with it"
            raise InfrastructureError(message, hint=hint)


def _kept(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that the current state keeps until the release has succeeded."""
    kept = {"Scaled": old.get("Scaled", "")}
    kept |= {name: old[name] for name in ("AccessLogs", "WebAcl") if old.get(name)}
    if "NatGateways" in new:  # a stack of an earlier version has one, and no endpoints
        before = old.get("NatGateways", NATS[1])
        kept["NatGateways"] = max(before, new["NatGateways"], key=NATS.index)
        kept["Endpoints"] = max(old.get("Endpoints", "false"), new["Endpoints"])  # "true" if any
    return {name: value for name, value in (kept | _names(old, new)).items() if name in new}


def _names(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of domain and TLS: what clients use now keeps working."""
    redirect = "true" if "true" == old.get("Redirect") == new.get("Redirect") else "false"
    if not old.get("Domain"):
        return {"Redirect": redirect}
    if old["Domain"] != new.get("Domain"):
        return {**{name: old[name] for name in NAMES}, "Redirect": redirect}
    encrypted = new if new["Tls"] == "true" else old
    return {
        "Tls": max(old["Tls"], new["Tls"]),
        "HostedZone": new["HostedZone"] or old["HostedZone"],
        "Certificate": encrypted["Certificate"],
        "Redirect": redirect,
    }


def covers(current: DesiredStack, to: DesiredStack) -> bool:
    """Return whether the stack as it is has all that the services of another state need; pure."""
    both = extended(current, to, back=True)
    needed = ("FirstPort", "LastPort", "Exec")
    have, need = facts_of(current.template), facts_of(both.template)
    return (
        mapped(both.template) == mapped(current.template)
        and (have.secrets, have.policies) == (need.secrets, need.policies)
        and all(both.parameters.get(name) == current.parameters.get(name) for name in needed)
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
    values = _without(new or old or {}) | {k: v for k, v in (old or {}).items() if k in SCALING}
    values.setdefault("HealthCodes", HEALTH_CODES)
    if old and new and not _same_check({"HealthCodes": HEALTH_CODES, **old}, values):
        values["HealthCodes"] = ANY_ANSWER
    return values


def _without(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name not in SCALING}


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
