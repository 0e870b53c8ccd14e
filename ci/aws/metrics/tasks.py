"""Figures that the tasks themselves count, where no CloudWatch does: `/metrics` of each task.

They are Prometheus text (agents/common/telemetry/metrics.py). Requests are those of callers: a load
balancer does not count its own health checks, nor those of containers.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from ci.aws.metrics.model import Figures, Metrics, Source
from ci.aws.prober import Request, Response, fetch
from ci.common.concurrency import parallel
from ci.errors import ProbeError

PATH = "/metrics"
#: Routes that are called by health checks, and by this module.
OWN = frozenset({"/health", "/ready", PATH})
QUANTILE = 0.95
ATTEMPTS, PAUSE = 3, 1.0  # to read the figures of a task, and seconds between them
BYTES = 4 << 20  # at most, of the figures of a task
UNITS = 1024  # CPU units of one CPU
MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one task has counted since it began; `buckets` are cumulative, by their upper bound.

    CPU and memory are None where the task does not know them.
    """

    cpu_seconds: float | None = None
    memory: float | None = None
    requests: float = 0.0
    errors: float = 0.0
    buckets: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TaskMetrics(Metrics):
    """Reads the figures of each task twice: use of CPU is that of the seconds between."""

    seconds: float = 3.0

    @property
    def period(self) -> str:
        """When the figures were measured."""
        return f"since the tasks began (CPU: in {self.seconds:g} s)"

    async def figures(self, sources: Mapping[str, Source]) -> dict[str, Figures]:
        """Return the figures of each agent.

        Raises:
            ProbeError: a task does not answer with its figures.
        """
        urls = [url for source in sources.values() for url in source.tasks]
        first = dict(zip(urls, await parallel(_timed, urls), strict=True))
        await anyio.sleep(self.seconds)
        second = dict(zip(urls, await parallel(_timed, urls), strict=True))
        return {
            agent: _figures(source, [(*first[url], *second[url]) for url in source.tasks])
            for agent, source in sources.items()
        }


Timed = tuple[float, Sample]


async def _timed(url: str) -> Timed:
    """Return when a task was read, and what it has counted."""
    return anyio.current_time(), await sample(url)


async def sample(url: str) -> Sample:
    """Return what the task at a base URL has counted; raises `ProbeError`."""
    return parse(await _text(url + PATH))


async def _text(url: str) -> str:
    request, answer = Request(url=url, most=BYTES), Response(status=0)
    for attempt in range(ATTEMPTS):
        answer = await anyio.to_thread.run_sync(fetch, request, abandon_on_cancel=True)
        if answer.status == 200:
            return answer.content.decode()
        if attempt + 1 < ATTEMPTS:
            await anyio.sleep(PAUSE)
    message = f"no figures at {url}: {answer.error or f'HTTP {answer.status}'}"
    raise ProbeError(message)


def parse(text: str) -> Sample:
    """Return what a task has counted; raises `ProbeError` for what is no Prometheus text."""
    from prometheus_client.parser import text_string_to_metric_families  # late: rarely used

    single: dict[str, float] = {}
    requests = errors = 0.0
    buckets: defaultdict[float, float] = defaultdict(float)
    try:
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                if not labels:
                    single[name] = value
                elif labels.get("route") in OWN:
                    continue
                elif name == "acso_requests_total":
                    requests += value
                    errors += value * labels["status"].startswith("5")
                elif name == "acso_request_seconds_bucket":
                    buckets[float(labels["le"])] += value
    except (ValueError, KeyError) as error:
        message = f"figures that cannot be read: {error}"
        raise ProbeError(message) from error
    return Sample(
        cpu_seconds=single.get("process_cpu_seconds_total"),
        memory=single.get("process_resident_memory_bytes"),
        requests=requests,
        errors=errors,
        buckets=dict(buckets),
    )


def _figures(source: Source, looks: Iterable[tuple[float, Sample, float, Sample]]) -> Figures:
    seen = list(looks)
    last = [sample for *_, sample in seen]
    requests = sum(sample.requests for sample in last)
    buckets: defaultdict[float, float] = defaultdict(float)
    for sample in last:
        for bound, count in sample.buckets.items():
            buckets[bound] += count
    return Figures(
        cpu=_mean([_cpu(source, *look) for look in seen]),
        memory=_mean([_share(sample.memory, source.memory * MEBIBYTE) for sample in last]),
        latency=quantile(buckets),
        requests=requests or None,
        errors=sum(sample.errors for sample in last) if requests else None,
    )


def _cpu(source: Source, began: float, first: Sample, ended: float, last: Sample) -> float | None:
    """Return the percentage of its CPU that a task used between two looks."""
    if first.cpu_seconds is None or last.cpu_seconds is None or ended <= began:
        return None
    return _share(last.cpu_seconds - first.cpu_seconds, (ended - began) * source.cpu / UNITS)


def _share(part: float | None, whole: float) -> float | None:
    return None if part is None or not whole else 100 * part / whole


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean; None if one is missing."""
    known = list(values)
    if not known or None in known:
        return None
    return sum(value for value in known if value is not None) / len(known)


def quantile(buckets: Mapping[float, float]) -> float | None:
    """Return the 95th percentile in milliseconds of a histogram, None if it is empty.

    Within a bucket, times count as evenly spread, as Prometheus' `histogram_quantile` has it; of
    those over the largest bound, only that bound is known.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not total:
        return None
    rank, low, below = QUANTILE * total, 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            within = (rank - below) / (buckets[bound] - below)
            return 1000 * (low if bound == float("inf") else low + within * (bound - low))
        low, below = bound, buckets[bound]
    return None
