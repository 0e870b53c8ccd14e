"""Target groups: health that is looked at, requests to healthy targets alone, and draining.

Source of the rules: ELB User Guide, "Target groups" and "Health checks for target groups".
"""

import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any

from ci.local.aws.health import Rule, State
from ci.local.aws.hook import replace, replace_entry, require
from ci.local.aws.probes import Probe, Probes, http_probe
from ci.local.wait import blocking

Target = dict[str, Any]  # ministack's: Id (an address) and Port
#: Seconds that a leaving target keeps the requests it has, if its group says longer.
LONGEST_DRAIN = 30.0
REASONS = {
    "initial": ("Elb.InitialHealthChecking", "Initial health checks in progress"),
    "unhealthy": ("Target.FailedHealthChecks", "Health checks failed"),
    "draining": ("Target.DeregistrationInProgress", "Target deregistration is in progress"),
}


class Targets:
    """The targets of all load balancers: who is healthy, who is leaving, who has requests."""

    def __init__(self, alb: Any, probes: Probes) -> None:
        self._alb = alb
        self._probes = probes
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()  # under way, by address
        self._leaving: dict[str, list[tuple[str, Target]]] = {}  # address -> groups it left

    def wanted(self) -> dict[Hashable, tuple[Rule, Probe]]:
        """Return what to probe: every target registered, by its group's settings."""
        found: dict[Hashable, tuple[Rule, Probe]] = {}
        groups = {arn: group for (_, _, arn), group in self._alb._tgs.all_items()}
        for (_, arn), targets in list(self._alb._targets._data.items()):
            group = groups.get(arn)
            if group is None or group.get("TargetType") == "lambda":
                continue
            for target in list(targets):
                found[key(arn, target)] = (_rule(group), _probe(group, target))
        return found

    def state(self, arn: str, target: Target) -> State:
        """Return the state of a registered target, as DescribeTargetHealth names it."""
        health = self._probes.health(key(arn, target))
        return health.state if health is not None else "initial"

    def drain(self, address: str | None, *, seconds: float = LONGEST_DRAIN) -> None:
        """Wait until a target that was deregistered has no requests under way."""
        if not address:
            return
        blocking(lambda: not self._busy(address), seconds=seconds, every=0.02)
        with self._lock:
            self._leaving.pop(address, None)

    def _busy(self, address: str) -> bool:
        with self._lock:
            return self._requests[address] > 0

    def _enter(self, arn: str) -> Target | None:
        """Choose the target of a request and count it, in one step: a drain sees one or none."""
        with self._lock:
            registered = list(self._alb._targets.get(arn) or [])
            if not registered:
                return None
            healthy = [item for item in registered if self.state(arn, item) == "healthy"]
            # With no healthy target a load balancer tries them all ("fail open").
            target: Target = random.choice(healthy or registered)  # noqa: S311 (no secret)
            self._requests[str(target["Id"])] += 1
            return target

    def _leave(self, target: Target) -> None:
        with self._lock:
            self._requests[str(target["Id"])] -= 1

    def forward(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Make the forwarding of a request that chooses among healthy targets."""

        async def forward(  # noqa: PLR0913, PLR0917 (ministack's signature)
            arn: str, method: str, path: str, headers: Any, body: Any, query: Any,
            raw_query: Any = None, raw_path: Any = None,
        ) -> Any:  # fmt: skip
            group = self._alb._tgs.get(arn)
            lambda_target = group is None or group.get("TargetType") == "lambda"
            target = None if lambda_target else self._enter(arn)
            if target is None:
                return await original(arn, method, path, headers, body, query, raw_query, raw_path)
            try:
                status, out, answer = await self._alb._proxy_http_target(
                    target, group, method, raw_path or path, headers, body, query, raw_query
                )
            except BaseException:
                self._leave(target)
                raise
            return status, out, self._counted(target, answer)

        return forward

    def _counted(self, target: Target, answer: Any) -> Any:
        """Return an answer that ends the count of its request when it is told to its end."""
        runner = getattr(answer, "runner", None)
        if runner is None:
            self._leave(target)
            return answer

        async def counted(send: Any, receive: Any) -> None:
            try:
                await runner(send, receive)
            finally:
                self._leave(target)

        return type(answer)(counted)

    def published(self, original: Callable[..., bool]) -> Callable[..., bool]:
        """Make the registration of a service's tasks that notes which ones leave."""

        def publish(
            arn: str, targets: Sequence[tuple[str, int]], previous: Iterable[str] = ()
        ) -> bool:
            staying = {address for address, _ in targets}
            leaving = [
                item
                for item in self._alb._targets.get(arn) or []
                if item["Id"] in set(previous) - staying
            ]
            done = original(arn, targets, previous)
            self._probes.forget(*(key(arn, item) for item in leaving))
            with self._lock:
                for item in leaving:
                    self._leaving.setdefault(str(item["Id"]), []).append((arn, item))
            return done

        return publish

    def described(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Make the DescribeTargetHealth that tells what was seen."""

        def describe(params: Any) -> Any:
            arn = self._alb._p(params, "TargetGroupArn")
            if arn not in self._alb._tgs:
                return original(params)
            with self._lock:
                left = [item for all_ in self._leaving.values() for at, item in all_ if at == arn]
            states = [(item, self.state(arn, item)) for item in self._alb._targets.get(arn) or []]
            asked = {item["Id"] for item in self._alb._parse_targets_param(params)}
            found = [*states, *((item, "draining") for item in left)]
            members = [
                self._member(arn, item, state)
                for item, state in found
                if not asked or item["Id"] in asked
            ]
            inner = f"<TargetHealthDescriptions>{''.join(members)}</TargetHealthDescriptions>"
            return self._alb._xml(200, "DescribeTargetHealth", inner)

        return describe

    def _member(self, arn: str, target: Target, state: str) -> str:
        reason, text = REASONS.get(state, ("", ""))
        health = self._probes.health(key(arn, target))
        if state == "unhealthy" and health is not None and health.said:
            text = health.said
        why = f"<Reason>{reason}</Reason><Description>{self._alb._esc(text)}</Description>"
        return (
            f"<member><Target><Id>{target['Id']}</Id><Port>{target['Port']}</Port></Target>"
            f"<TargetHealth><State>{state}</State>{why if reason else ''}</TargetHealth></member>"
        )


def apply(targets: Targets, alb: Any) -> None:
    """Correct the load balancers."""
    require(alb, "_tgs", "_targets", "_p", "_parse_targets_param", "_xml", "_esc")
    require(alb, "_proxy_http_target")
    replace(alb, "_forward_to_tg", targets.forward)
    replace(alb, "set_targets_for_group", targets.published)
    replace_entry(alb._ACTION_MAP, "DescribeTargetHealth", targets.described)


def key(arn: str, target: Target) -> Hashable:
    """Return the key under which a target is probed."""
    return ("target", arn, target["Id"], int(target.get("Port") or 0))


def _rule(group: dict[str, Any]) -> Rule:
    return Rule(
        interval=float(group.get("HealthCheckIntervalSeconds") or 30),
        failures=int(group.get("UnhealthyThresholdCount") or 2),
        successes=int(group.get("HealthyThresholdCount") or 5),
    )


def _probe(group: dict[str, Any], target: Target) -> Probe:
    asked = str(group.get("HealthCheckPort") or "traffic-port")
    port = int(asked) if asked.isdigit() else int(target.get("Port") or group.get("Port") or 80)
    path = str(group.get("HealthCheckPath") or "/")
    matcher = str((group.get("Matcher") or {}).get("HttpCode") or "200")
    seconds = float(group.get("HealthCheckTimeoutSeconds") or 5)
    return lambda: http_probe(str(target["Id"]), port, path, matcher, seconds)
