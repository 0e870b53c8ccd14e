"""Requests to an environment's load balancer: from this machine, or from inside its network."""

from ci.aws.prober import Request
from ci.aws.probing.probe import DIRECT, Probe

__all__ = ["DIRECT", "Probe", "Request"]
