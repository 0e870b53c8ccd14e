"""What validation needs to know of an environment: suites, thresholds and accepted findings."""

import datetime
import re
from dataclasses import dataclass
from typing import Annotated

from ci.config.problems import require
from ci.config.settings import About, nearest

#: The suites that a release may end with, and `acso validate --suite` runs.
SUITES = ("smoke", "integration", "production", "performance", "compliance")
#: What an exception can accept.
OUTCOMES = ("FAIL", "NOT_EXAMINED")
CHECK = re.compile(r"[a-z]+\.[a-z]+(-[a-z]+)*")


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The limits that the performance checks compare each agent with.

    Source of the defaults: the targets of the original system (CPU < 70 %, alert at 85 %; memory
    < 80 %, alert at 90 %; response 3,000 ms; error rate < 1 %), the middle one of each.
    """

    cpu: Annotated[int, About("CPU use of an agent, average of the window", "percent")] = 80
    memory: Annotated[int, About("memory use of an agent, average of the window", "percent")] = 85
    latency_p95: Annotated[int, About("95th percentile of response times", "milliseconds")] = 3000
    error_rate: Annotated[int, About("5xx responses of all", "percent")] = 1
    window: Annotated[int, About("the time before the check that is looked at", "seconds")] = 900


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A finding of one check that somebody accepted, until a day."""

    accepts: Annotated[str, About("`FAIL`, or `NOT_EXAMINED`: the check could not look")]
    owner: Annotated[str, About("who accepted it")]
    reason: Annotated[str, About("why")]
    expires: Annotated[str, About("last day on which it counts", "YYYY-MM-DD")]

    @property
    def last_day(self) -> datetime.date:
        """The last day on which it counts."""
        return datetime.date.fromisoformat(self.expires)


def check_names(where: str, kind: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raise `BadKeyError` unless there is a name, all are known, and none is there twice."""
    message = f"must name a {kind}: a release that nothing looks at is no success"
    require(names, where, message)
    for number, name in enumerate(names):
        what = f"unknown {kind} {name!r}, {nearest(name, known)}"
        require(name in known, f"{where}[{number}]", what)
        require(name not in names[:number], f"{where}[{number}]", f"{name!r} is there twice")


def check_accepted(where: str, check: str, accepted: Accepted) -> None:
    """Raise `BadKeyError` for an exception that says too little or has no possible day."""
    require(CHECK.fullmatch(check), where, "must be the id of a check, such as network.tls")
    accepts = f"must be one of {', '.join(OUTCOMES)}"
    require(accepted.accepts in OUTCOMES, f"{where}.accepts", accepts)
    for key in ("owner", "reason"):
        require(getattr(accepted, key).strip(), f"{where}.{key}", "must not be empty")
    try:
        possible = bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}", accepted.expires))
        possible = possible and bool(accepted.last_day)
    except ValueError:
        possible = False
    require(possible, f"{where}.expires", 'must be a day in quotes, such as "2027-01-31"')
