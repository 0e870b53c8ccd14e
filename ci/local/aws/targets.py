"""Target groups: probe targets, send requests only to healthy ones, drain those that leave.

Source of the rules: ELB User Guide, "Target groups" and "Health checks for target groups".
"""

import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any

from ci.local.aws.health import Rule, State
from ci.local.aws.patching import replace, replace_entry, require
from ci.local.aws.probes import Probe, Probes, http_probe
from ci.local.wait import blocking

Target = dict[str, Any]  # ministack's: Id (an address) and Port
#: Seconds that a deregistered target has at most to finish its requests.
MAX_DRAIN = 30.0
REASONS = {
    "initial": ("Elb.InitialHealthChecking", "Initial health checks in progress"),
    "unhealthy": ("Target.FailedHealthChecks", "Health checks failed"),
    "draining": ("Target.DeregistrationInProgress", "Target deregistration is in progress"),
}
#: Reason codes of failed health checks, by how the description begins.
CODES = (
    ("Request timed out", "Target.Timeout"),
    ("Health checks failed with these codes", "Target.ResponseCodeMismatch"),
)


class Targets:
    """The targets of all load balancers: their health, their open requests, and those leaving."""

    def __init__(self, alb: Any, probes: Probes) -> None:
        self._alb = alb
        self._probes = probes
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()  # open ones, by address
        self._leaving: dict[str, list[tuple[str, Target]]] = {}  # by address: the groups it left

    def wanted(self) -> dict[Hashable, tuple[Rule, Probe]]:
        """Return the probes of all registered targets, with the settings of their groups."""
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
        """Return the state of a registered target, with the names of DescribeTargetHealth."""
        health = self._probes.health(key(arn, target))
        return health.state if health is not None else "initial"

    def drain(self, address: str | None, *, seconds: float = MAX_DRAIN) -> None:
        """Wait until a deregistered target has finished its requests."""
        if not address:
            return
        blocking(lambda: not self._busy(address), seconds=seconds, every=0.02)
        with self._lock:
            self._leaving.pop(address, None)

    def _busy(self, address: str) -> bool:
        with self._lock:
            return self._requests[address] > 0

    def _begin_request(self, arn: str) -> Target | None:
        """Choose a target for a request and count the request, atomically with regard to drains."""
        with self._lock:
            registered = list(self._alb._targets.get(arn) or [])
            if not registered:
                return None
            healthy = [item for item in registered if self.state(arn, item) == "healthy"]
            # If no target is healthy, a load balancer uses all of them ("fail open").
            target: Target = random.choice(healthy or registered)  # noqa: S311 (no secret)
            self._requests[str(target["Id"])] += 1
            return target

    def _end_request(self, target: Target) -> None:
        with self._lock:
            self._requests[str(target["Id"])] -= 1

    def with_healthy_targets(
        self, original: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        """Forward requests only to healthy targets."""

        async def forward(  # noqa: PLR0913, PLR0917 (ministack's signature)
            arn: str, method: str, path: str, headers: Any, body: Any, query: Any,
            raw_query: Any = None, raw_path: Any = None,
        ) -> Any:  # fmt: skip
            group = self._alb._tgs.get(arn)
            lambda_target = group is None or group.get("TargetType") == "lambda"
            target = None if lambda_target else self._begin_request(arn)
            if target is None:
                return await original(arn, method, path, headers, body, query, raw_query, raw_path)
            try:
                status, out, answer = await self._alb._proxy_http_target(
                    target, group, method, raw_path or path, headers, body, query, raw_query
                )
            except BaseException:
                self._end_request(target)
                raise
            return status, out, self._counted(target, answer)

        return forward

    def _counted(self, target: Target, answer: Any) -> Any:
        """Return an answer whose request counts as open until the answer has been sent."""
        runner = getattr(answer, "runner", None)
        if runner is None:
            self._end_request(target)
            return answer

        async def counted(send: Any, receive: Any) -> None:
            try:
                await runner(send, receive)
            finally:
                self._end_request(target)

        return type(answer)(counted)

    def with_draining(self, original: Callable[..., bool]) -> Callable[..., bool]:
        """Record which targets leave when a service's targets are registered again."""

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

    def with_probed_health(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Answer DescribeTargetHealth with the results of probes."""

        def describe(params: Any) -> Any:
            arn = self._alb._p(params, "TargetGroupArn")
            if arn not in self._alb._tgs:
                return original(params)
            with self._lock:
                left = [item for all_ in self._leaving.values() for at, item in all_ if at == arn]
            states = [(item, self.state(arn, item)) for item in self._alb._targets.get(arn) or []]
            requested = {item["Id"] for item in self._alb._parse_targets_param(params)}
            found = [*states, *((item, "draining") for item in left)]
            members = [
                self._member(arn, item, state)
                for item, state in found
                if not requested or item["Id"] in requested
            ]
            inner = f"<TargetHealthDescriptions>{''.join(members)}</TargetHealthDescriptions>"
            return self._alb._xml(200, "DescribeTargetHealth", inner)

        return describe

    def _member(self, arn: str, target: Target, state: str) -> str:
        reason, text = REASONS.get(state, ("", ""))
        health = self._probes.health(key(arn, target))
        if state == "unhealthy" and health is not None and health.reason:
            text = health.reason
            reason = next((code for start, code in CODES if text.startswith(start)), reason)
        why = f"<Reason>{reason}</Reason><Description>{self._alb._esc(text)}</Description>"
        return (
            f"<member><Target><Id>{target['Id']}</Id><Port>{target['Port']}</Port></Target>"
            f"<TargetHealth><State>{state}</State>{why if reason else ''}</TargetHealth></member>"
        )


def apply(targets: Targets, alb: Any) -> None:
    """Correct the load balancers."""
    require(alb, "_tgs", "_targets", "_p", "_parse_targets_param", "_xml", "_esc")
    require(alb, "_proxy_http_target")
    replace(alb, "_forward_to_tg", targets.with_healthy_targets)
    replace(alb, "set_targets_for_group", targets.with_draining)
    replace_entry(alb._ACTION_MAP, "DescribeTargetHealth", targets.with_probed_health)


def key(arn: str, target: Target) -> Hashable:
    """Return the key of a target's probe."""
    return ("target", arn, target["Id"], int(target.get("Port") or 0))


def _rule(group: dict[str, Any]) -> Rule:
    return Rule(
        interval=float(group.get("HealthCheckIntervalSeconds") or 30),
        failures=int(group.get("UnhealthyThresholdCount") or 2),
        successes=int(group.get("HealthyThresholdCount") or 5),
    )


def _probe(group: dict[str, Any], target: Target) -> Probe:
    setting = str(group.get("HealthCheckPort") or "traffic-port")
    port = int(setting) if setting.isdigit() else int(target.get("Port") or group.get("Port") or 80)
    path = str(group.get("HealthCheckPath") or "/")
    matcher = str((group.get("Matcher") or {}).get("HttpCode") or "200")
    seconds = float(group.get("HealthCheckTimeoutSeconds") or 5)
    return lambda: http_probe(str(target["Id"]), port, path, matcher, seconds)
