"""Checks of who may do what: callers of the agents, and the agents' own roles."""

import re
import secrets
from collections.abc import Mapping
from functools import partial

from ci.aws import iam, tokens
from ci.aws.partitions import partition
from ci.common.concurrency import parallel
from validation import environment
from validation.client import Agents, agents_of, failing, named
from validation.model import Check, CheckContext, Evidence, Finding, Severity, judged

#: Routes that need no token, or that the load balancer does not publish; and lists.
OPEN = ("/health", "/ready", "/metrics", "/openapi.json")
LISTS = ("/workflows", "/findings", "/incidents", "/tickets", "/summary")


async def callers(context: CheckContext) -> Finding:
    """Call every agent with each kind of token, and without one."""
    agents = await agents_of(context)
    people = await environment.output(context, "PeopleSecret")
    before = named(await tokens.previous(context.aws, people) or "")
    old = [token for text in await tokens.retired(context.aws, people) for token in named(text)]
    known = {*before, agents.tokens.person}
    cases = [("no token", "", 401), ("a wrong token", secrets.token_hex(24), 401)]
    cases += [("a person's token", agents.tokens.person, 200)]
    cases += [("the agents' token", agents.tokens.agent, 200)]
    cases += [("the token before the last rotation", token, 200) for token in before[:1]]
    cases += [("a retired token", token, 401) for token in old[:1] if token not in known]
    names = [agent.name for agent in context.config.agents]
    routes = dict(zip(names, await parallel(partial(_routes, agents), names), strict=True))
    asked = [
        (name, path, *case)
        for name in names
        for number, case in enumerate(cases)
        # Every route without a token; with one, who the caller is and what is listed.
        for path in (routes[name] if number == 0 else _listed(routes[name]))
    ]

    async def one(item: tuple[str, str, str, str, int]) -> str:
        agent, path, what, token, wanted = item
        answer = await agents.ask(agent, "GET", path, token=token)
        if answer.status == wanted:
            return ""
        return f"{agent} answers {path} for {what} with {answer}, not {wanted}"

    problems = [text for text in await parallel(one, asked) if text]
    problems += await _agent_that_approves(agents, names)
    return judged(
        problems,
        Evidence("requests", len(asked), len(asked)),
        observed=f"{len(names)} agents, {len(cases)} kinds of tokens each",
        expected="401 without a valid token, 403 for an agent that approves, 200 for the others",
        hint="./acso rotate-tokens --env " + context.env.name,
    )


async def _routes(agents: Agents, agent: str) -> list[str]:
    """Return the protected GET routes of an agent, as its OpenAPI document has them."""
    paths = (await agents.done(agent, "GET", "/openapi.json"))["paths"]
    found = [path for path, methods in paths.items() if "get" in methods and path not in OPEN]
    return sorted(re.sub(r"\{\w+\}", "none", path) for path in found)


def _listed(routes: list[str]) -> list[str]:
    """Return `/whoami`, and the first route that lists something."""
    return ["/whoami", *[path for path in routes if path in LISTS][:1]]


async def _agent_that_approves(agents: Agents, names: list[str]) -> list[str]:
    if "supervisor" not in names:
        return []
    body = {"decision": "approve"}
    path, token = "/approvals/none", agents.tokens.agent
    answer = await agents.ask("supervisor", "POST", path, body, token=token)
    return [f"an agent that approves is answered with {answer}, not 403"] * (answer.status != 403)


async def roles(context: CheckContext) -> Finding:
    """Simulate that an agent changes releases, services, tokens or its own role."""
    found = (await environment.stack(context)).outputs
    cases = [
        (arn, actions, resource)
        for key, arn in found.items()
        if key.startswith("TaskRole")
        for actions, resource in _forbidden(context, found, arn)
    ]

    async def one(case: tuple[str, tuple[str, ...], str]) -> list[str]:
        arn, actions, resource = case
        denied = await iam.denied_actions(context.aws, arn, actions, resource)
        role = arn.rpartition("/")[2]
        return [f"{role} may {act} on {resource}" for act in actions if act not in denied]

    problems = [text for texts in await parallel(one, cases) for text in texts]
    tested = len({arn for arn, _, _ in cases})
    return judged(
        problems,
        Evidence("task roles", tested, len(context.config.agents)),
        Evidence("simulations", len(cases), len(cases)),
        observed=f"{tested} roles, {len(cases)} simulations",
        expected="every simulated action is denied",
        hint="infra/environment.yaml has the roles; `permissions` in acso.toml adds to them",
    )


def _forbidden(
    context: CheckContext, outputs: Mapping[str, str], role: str
) -> list[tuple[tuple[str, ...], str]]:
    """Return what no agent may do to the environment: actions, and the resource of each."""
    env = context.env
    where = f"arn:{partition(env.region)}:{{}}:{env.region}:{role.split(':')[4]}"
    records = f"{where.format('dynamodb')}:table/{env.prefix}-releases"
    services = f"{where.format('ecs')}:service/{env.cluster}/*"
    return [
        (("dynamodb:PutItem", "dynamodb:DeleteItem"), records),
        (("ecs:UpdateService", "ecs:DeleteService"), services),
        (("secretsmanager:PutSecretValue",), outputs["PeopleSecret"]),
        (("iam:PassRole", "iam:PutRolePolicy", "sts:AssumeRole"), role),
    ]


CHECKS = (
    Check(
        id="integration.authentication",
        title="only known callers are answered",
        run=failing(callers),
        severity=Severity.CRITICAL,
        reads=(
            "GET /whoami",
            "secretsmanager:GetSecretValue",
            "secretsmanager:ListSecretVersionIds",
        ),
        why="an agent that answers anybody gives the incidents away, and lets anybody contain",
        remedy="./acso rotate-tokens --env ENV --revoke after a leak; ./acso logs says who called",
    ),
    Check(
        id="integration.task-role",
        title="an agent's role may not do more than its work",
        run=roles,
        severity=Severity.CRITICAL,
        reads=("iam:SimulatePrincipalPolicy",),
        why="an agent that is taken over can do what its role may do",
        remedy="remove what the role does not need",
        controls=("FSBP IAM.21",),
    ),
)
