"""What goes wrong for one process, and in AWS; values that hypothesis draws."""

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.unit.release.badday.tasks import RETRIED, Fate

#: Seconds without an answer from ECS or from the load balancer, and from the lock's table, that a
#: good release survives: 30 s and a lease of 15 s, less the time of one call that is under way.
CLOUD_PATIENCE, ANSWER_PATIENCE, LOCK_PATIENCE = 20.0, 18.0, 5.0
#: Seconds for which calls of the cloud, and of the lock's table, may be throttled.
CLOUD_THROTTLED, LOCK_THROTTLED = 100.0, 3.0
CLOCKS = 30.0  # seconds that a clock may be off


@dataclass(frozen=True)
class Storm:
    """Seconds in which calls of some services are throttled, or get no answer."""

    kind: str  # throttled or silent
    services: frozenset[str]
    start: float
    length: float

    def covers(self, service: str, age: float) -> bool:
        """Return whether it hits a call of this service."""
        return service in self.services and self.start <= age < self.start + self.length


@dataclass(frozen=True)
class Lost:
    """A call whose effect takes place, while its replies are lost."""

    number: int
    times: int
    seconds: float


@dataclass(frozen=True)
class Weather:
    """The faults of one process: its clock, its calls, and its end.

    `lost` are numbers of calls, each with the number of lost replies in a row and the seconds until
    the connection is closed. `dies_at` is the number of the call at which the process is killed,
    `acted` whether that call still reaches AWS.
    """

    clock: float = 0.0
    storms: tuple[Storm, ...] = ()
    lost: tuple[Lost, ...] = ()
    dies_at: int | None = None
    acted: bool = False

    def storm(self, service: str, age: float) -> str:
        """Return what happens to a call now; empty if nothing does."""
        return next((storm.kind for storm in self.storms if storm.covers(service, age)), "")


CALM = Weather()
CLOUD = frozenset({"ecs", "elbv2", "ecr", "logs", "cloudformation", "sts"})
LOCK, ANSWERS = frozenset({"dynamodb"}), frozenset({"http"})
CLOCK = st.floats(-CLOCKS, CLOCKS).map(lambda value: round(value, 3))
NUMBERS = st.integers(0, 400)


def _storm(services: frozenset[str], longest: float, throttled: float) -> st.SearchStrategy[Storm]:
    def seconds(most: float) -> st.SearchStrategy[float]:
        return st.floats(0.5, most).map(lambda value: round(value, 1))

    start = st.floats(0.0, 80.0).map(lambda value: round(value, 1))
    silent = st.builds(Storm, st.just("silent"), st.just(services), start, seconds(longest))
    if services == ANSWERS:
        return silent
    length = seconds(throttled)
    return silent | st.builds(Storm, st.just("throttled"), st.just(services), start, length)


def _storms(scale: float) -> st.SearchStrategy[tuple[Storm, ...]]:
    limits = (
        (CLOUD, CLOUD_PATIENCE, CLOUD_THROTTLED),
        (LOCK, LOCK_PATIENCE, LOCK_THROTTLED),
        (ANSWERS, ANSWER_PATIENCE, 0.0),
    )
    each = [
        st.none() | _storm(services, scale * silent, scale * throttled)
        for services, silent, throttled in limits
    ]
    return st.tuples(*each).map(lambda found: tuple(storm for storm in found if storm))


def _lost(most: int, longest: float) -> st.SearchStrategy[tuple[Lost, ...]]:
    seconds = st.sampled_from([0.0, 0.0, longest])
    one = st.builds(Lost, NUMBERS, st.integers(1, most), seconds)
    return st.lists(one, max_size=12, unique_by=lambda item: item.number).map(tuple)


#: Within the stated patience: no call fails after botocore's own attempts.
PATIENT = st.builds(Weather, CLOCK, _storms(1.0), _lost(2, 8.0))
#: Anything: calls fail, the lock is lost, the process is killed.
WILD = st.builds(Weather, CLOCK, _storms(6.0), _lost(6, 60.0), st.none() | NUMBERS, st.booleans())
SECONDS = st.floats(0.5, 25.0).map(lambda value: round(value, 1))
FATES = st.lists(
    st.builds(
        Fate,
        provisioning=SECONDS,
        pulling=SECONDS,
        starting=SECONDS,
        registration=SECONDS,
        failure=st.sampled_from(["", "", *RETRIED]),
        sidecar=st.sampled_from(["", "first", "last"]),
    ),
    max_size=10,
)
SHORTAGES = st.sampled_from([0.0, 0.0, 30.0, 90.0])
