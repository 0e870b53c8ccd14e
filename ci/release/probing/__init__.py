"""The prober: a one-off task that sends requests to a load balancer open to its network only."""

from ci.release.probing.inside import probing_inside
from ci.release.probing.task import Prober, ProberSettings

__all__ = ["Prober", "ProberSettings", "probing_inside"]
