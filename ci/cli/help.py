"""Texts of the help: exit codes, an example for each command, groups of options."""

from collections.abc import Mapping
from types import MappingProxyType

EPILOG = """\
first steps:
  acso doctor                      check what this machine has and what is missing
  acso deploy --env development    check, build, deploy and validate; starts all it needs
  acso selftest                    run all tests of this repository

exit codes of all commands:
    0  success; plan and deploy --dry-run: nothing would change
    1  tests or a benchmark failed, or a defect: please report it
    2  wrong usage; plan and deploy --dry-run: something would change
    3  acso.toml is invalid
    4  this machine lacks something: acso doctor
    5  the engine cannot be used
    6  no container engine answers and none can be started
   10  a quality gate or a build failed
   20  AWS refused a request or cannot be reached
   21  the account or region is not the one of the environment in acso.toml
   22  a CloudFormation stack failed
   23  the environment is locked by another release
   24  a deploy would undo a newer release of another checkout
   25  the saved plan is outdated
   26  the environment lacks something that a release needs: acso verify
   27  the release cannot be promoted
   30  validation failed
   31  a one-off task did not run; otherwise run-task ends with the exit code of the task
   32  a command in a running task could not be started
   33  validation is undecided: nothing failed, but a check could not look
   34  nobody could look at an internal load balancer; a release was rolled back for that
   35  a fault that chaos made could not be undone: a person has to act
  130  interrupted: Ctrl-C

exit codes of a release that did not succeed:
   40  it failed and was rolled back
   41  it failed and so did the rollback: a person has to act
   42  there is no earlier validated release to roll back to
   43  ECS rolled a service back (circuit breaker, alarm), so the release was rolled back
   44  somebody else changed a service during the release
   45  it timed out and was rolled back
   46  nothing to change, but what runs is unhealthy
   47  it was interrupted and rolled back
   48  the rollback target is gone: a task definition of it is deregistered
"""
#: One example for each command; shown in its help.
EXAMPLES: Mapping[str, str] = MappingProxyType(
    {
        "lint": "acso lint",
        "typecheck": "acso typecheck",
        "security": "acso security",
        "test": "acso test",
        "check": "acso check",
        "build": "acso build --agent supervisor",
        "publish": "acso publish --env development",
        "plan": "acso plan --env development --output plan.json",
        "deploy": "acso deploy --env development",
        "promote": "acso promote --from staging --env production",
        "bootstrap": "acso bootstrap --env staging",
        "verify": "acso verify --env development",
        "validate": "acso validate --env development --suite smoke",
        "chaos": "acso chaos --env development --experiment stop-task",
        "rollback": "acso rollback --env development",
        "status": "acso status --env development --watch",
        "logs": "acso logs --env development --agent supervisor --since 10m --grep ERROR",
        "run-task": "acso run-task --env development --agent supervisor -- python -c 'print(1)'",
        "history": "acso history --env development --limit 5",
        "unlock": "acso unlock --env development",
        "token": "acso token --env development",
        "rotate-tokens": "acso rotate-tokens --env development",
        "ci": "acso ci --event push --ref refs/heads/develop",
        "exec": "acso exec --env development --agent supervisor -- python",
        "doctor": "acso doctor",
        "up": "acso up",
        "down": "acso down",
        "selftest": "acso selftest -- tests/unit -x",
        "bench": "acso bench deploys --runs 1",
        "engine": "acso engine run -- python pipeline.py",
        "cache": "acso cache --keep 5GB",
        "completion": "acso completion bash",
    }
)
#: Titles of the groups of a command's options, in the order of the help; rarely used ones last.
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "other releases and Ctrl-C": ("wait", "on_cancel"),
        "for the release record": ("commit", "branch", "actor", "dirty"),
        "AWS access": (
            "aws_access_key_id",
            "aws_secret_access_key",
            "aws_session_token",
            "oidc_request_url",
            "oidc_request_token",
        ),
        "another AWS": ("endpoint", "registry", "load_balancer"),
    }
)


def group_of(name: str) -> str:
    """Return the title of a parameter's group, empty for the command's own options."""
    return next((title for title, names in GROUPS.items() if name in names), "")


def example_of(command: str) -> str:
    """Return the end of a command's help."""
    return f"example:\n  {EXAMPLES[command]}"
