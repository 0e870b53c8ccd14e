"""acso.toml: agents, environments, and the AWS names derived from them.

An invalid file is one `ConfigError`: the file, the key and, for an unknown key, the nearest valid
name.
"""

from ci.config.checks import FARGATE, PLATFORMS, STRATEGIES
from ci.config.model import Agent, Config, Environment, Project, Size, Task, nearest
from ci.config.parsing import FILE, load, parse

__all__ = [
    "FARGATE",
    "FILE",
    "PLATFORMS",
    "STRATEGIES",
    "Agent",
    "Config",
    "Environment",
    "Project",
    "Size",
    "Task",
    "load",
    "nearest",
    "parse",
]
