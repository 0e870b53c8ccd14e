"""Probe targets and containers, many at a time, and keep their health."""

import http.client
import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ci.local.aws.health import Health, Rule, matches

#: Returns the reason of a failure, "" if the probe succeeded.
Probe = Callable[[], str]
logger = logging.getLogger("acso.probes")


class Probes:
    """Keeps the health of everything that is probed, by key."""

    def __init__(self, workers: int = 16) -> None:
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="acso-probe")
        self._lock = threading.Lock()
        self._known: dict[Hashable, Health] = {}
        self._busy: set[Hashable] = set()

    def health(self, key: Hashable) -> Health | None:
        """Return the health of what has this key, None if it is not probed."""
        with self._lock:
            return self._known.get(key)

    def forget(self, *keys: Hashable) -> None:
        """Remove the health of these keys, whose address something else may get."""
        with self._lock:
            for key in keys:
                self._known.pop(key, None)

    def probe_due(self, wanted: Mapping[Hashable, tuple[Rule, Probe]]) -> None:
        """Start the probes in `wanted` that are due; remove the health of all other keys."""
        now = time.monotonic()
        with self._lock:
            for key in self._known.keys() - wanted.keys():
                del self._known[key]
            for key, (rule, probe) in wanted.items():
                health = self._known.setdefault(key, Health(rule=rule, since=now))
                if health.due(now) and key not in self._busy:
                    self._busy.add(key)
                    self._pool.submit(self._probe, key, health, probe)

    def _probe(self, key: Hashable, health: Health, probe: Probe) -> None:
        try:
            wrong = probe()
        except Exception as error:  # any exception is a failed probe
            wrong = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        with self._lock:
            self._busy.discard(key)
            before = health.state
            if wrong:
                health.failed(now, wrong)
            else:
                health.passed(now)
        if health.state != before:
            logger.info("%s: %s -> %s %s", key, before, health.state, wrong)


def http_probe(host: str, port: int, path: str, matcher: str, seconds: float) -> str:
    """Send a load balancer's health check; return the reason of a failure, "" if it passed."""
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        headers = {"Host": f"{host}:{port}", "User-Agent": "ELB-HealthChecker/2.0"}
        connection.request("GET", path, headers=headers)
        code = connection.getresponse().status
    except TimeoutError:
        return "Request timed out"
    except (OSError, http.client.HTTPException) as error:
        return f"Health checks failed ({type(error).__name__})"
    finally:
        connection.close()
    return "" if matches(matcher, code) else f"Health checks failed with these codes: [{code}]"


def exec_probe(client: Any, container: str, command: list[str]) -> str:
    """Run a container's health check command; return the reason of a failure, "" if it passed."""
    made = client.api.exec_create(container, command)
    output = client.api.exec_start(made["Id"])
    code = client.api.exec_inspect(made["Id"])["ExitCode"]
    return "" if code == 0 else f"exit code {code}: {bytes(output).decode(errors='replace')[-200:]}"
