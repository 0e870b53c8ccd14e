"""Settings of an organisation: names, network, secrets, scaling; what is impossible says where."""

from pathlib import Path

import pytest

from ci.config import Scaling, load, parse
from ci.config.access import subnet_ranges
from ci.errors import ConfigError

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "tests" / "acso.toml").read_text()
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/1"
ELSEWHERE = CERTIFICATE.replace("us-east-1", "eu-west-1")
STAGING, HUNTER = "[environments.staging]", "[agents.threat-hunter]"
KEY = "AKIA" + "ABCDEFGHIJKLMNOP"
PROBLEMS = [
    (STAGING, 'domain = "a.example.com"', "staging.hosted_zone: missing: `domain` needs it"),
    (STAGING, 'hosted_zone = "Z1"', "staging.domain: missing: `hosted_zone` needs it"),
    (STAGING, f'certificate = "{CERTIFICATE}"', "staging.domain: missing: `certificate`"),
    (STAGING, 'domain = "-"', "staging.domain: must be a DNS name"),
    (STAGING, 'tls = "some"', "staging.tls: must be 'none', or absent"),
    (
        STAGING,
        f'tls = "none"\ndomain = "a.example.com"\ncertificate = "{CERTIFICATE}"',
        "staging.tls: 'none' and `certificate`: set one of them",
    ),
    (
        STAGING,
        f'domain = "a.example.com"\ncertificate = "{ELSEWHERE}"',
        "staging.certificate: must be an ARN of acm in us-east-1",
    ),
    (
        STAGING,
        f'account = "210987654321"\ndomain = "a.example.com"\ncertificate = "{CERTIFICATE}"',
        "staging.certificate: must be an ARN of acm in us-east-1 of 210987654321",
    ),
    (STAGING, 'load_balancer = "x"', "staging.load_balancer: must be a table, not a text"),
    (STAGING, "load_balancer.intern = true", "load_balancer.intern: unknown key, did you mean"),
    (STAGING, "load_balancer.allowed_cidrs = []", "allowed_cidrs: must have at least one range"),
    (STAGING, 'load_balancer.allowed_cidrs = ["x"]', "allowed_cidrs[0]: must be an IPv4 range"),
    (
        STAGING,
        'load_balancer.access_logs_bucket = "logs"',
        "load_balancer.access_logs: must be true",
    ),
    (STAGING, 'network.vpc = "vpc-1"', "network.private_subnets: an existing VPC needs 2 or more"),
    (STAGING, 'network.private_subnets = ["subnet-1"]', "network.vpc: missing: `private_subnets`"),
    (STAGING, 'network.nat = "two"', "network.nat: must be one of none, one, per-zone"),
    (STAGING, 'network.vpc_cidr = "10.0.0.0/24"', "vpc_cidr: must have a size from /16 to /22"),
    (
        STAGING,
        'network = {vpc = "vpc-1", nat = "none", private_subnets = ["subnet-1", "subnet-2"], '
        'public_subnets = ["subnet-3", "subnet-4"]}',
        "network.nat: not possible in an existing VPC",
    ),
    (STAGING, 'permissions_boundary = "x"', "permissions_boundary: must be the ARN of a policy"),
    (STAGING, 'subscriptions = ["team"]', "subscriptions[0]: must be a mail address"),
    (STAGING, 'tags = {project = "x"}', "tags.project: the pipeline sets this tag itself"),
    (STAGING, 'tags = {"aws:x" = "x"}', "tags.aws:x: must be a tag's name"),
    (STAGING, "scaling = {min = 1, max = 2}", "scaling: `cpu` or `requests`: set at least one"),
    (STAGING, "scaling = {min = 2, max = 1, cpu = 5}", "scaling.max: must be `min` or more"),
    (STAGING, "scaling = {min = 0, max = 1, cpu = 5}", "scaling.min: must be 1 or more"),
    (STAGING, "scaling = {min = 1, max = 1, cpu = 101}", "scaling.cpu: must be 1 to 100 percent"),
    (STAGING, "scaling = {min = 1}", "staging.scaling.max: missing value (a whole number)"),
    (
        STAGING,
        "agents.supervisor = {desired_count = 2, scaling = {min = 1, max = 2, cpu = 5}}",
        "agents.supervisor.desired_count: `desired_count` and `scaling`: set one of them",
    ),
    (HUNTER, 'environment = {PORT = "1"}', "environment.PORT: the pipeline or AWS sets"),
    (HUNTER, 'environment = {"A B" = "1"}', "environment.A B: must be a variable's name"),
    (HUNTER, f'environment = {{A = "{KEY}"}}', "environment.A: looks like a secret: put it in"),
    (HUNTER, 'environment = {A = "1"}\nsecrets = {A = "b"}', "environment.A: is also in `secrets`"),
    (HUNTER, 'secrets = {A = "a b"}', "threat-hunter.secrets.A: must be the ARN or name"),
    (HUNTER, 'secrets = {A = "arn:aws:s3:::x"}', "threat-hunter.secrets.A: must be the ARN"),
    (HUNTER, 'permissions = "/etc/x.json"', "permissions: must be a path in the repository"),
    (HUNTER, 'permissions = "../x.json"', "permissions: must be a path in the repository"),
    (
        "[defaults.environment]",
        'load_balancer = {allowed_cidrs = ["x"]}',
        "defaults.environment.load_balancer.allowed_cidrs[0]: must be an IPv4 range",
    ),
]


@pytest.mark.parametrize(("table", "line", "message"), PROBLEMS)
def test_what_is_impossible_says_where(table: str, line: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(TEXT.replace(table, f"{table}\n{line}", 1))
    assert message in str(raised.value)
    assert KEY not in str(raised.value)


def test_two_environments_cannot_have_one_domain() -> None:
    named = 'domain = "a.example.com"\nhosted_zone = "Z1"'
    text = TEXT
    for table in (STAGING, "[environments.production]"):
        text = text.replace(table, f"{table}\n{named}")
    with pytest.raises(ConfigError, match=r"production\.domain: 'a.example.com' is already"):
        parse(text)


def test_a_table_of_the_defaults_is_completed_not_replaced() -> None:
    text = TEXT.replace(
        "[defaults.environment]",
        '[defaults.environment]\nload_balancer = {allowed_cidrs = ["192.0.2.0/24"]}',
    ).replace(STAGING, f"{STAGING}\nload_balancer.access_logs = true")
    found = parse(text).environment("staging").load_balancer
    assert (found.allowed_cidrs, found.access_logs) == (("192.0.2.0/24",), True)


def test_an_agent_s_variables_in_an_environment_come_before_its_own() -> None:
    text = TEXT.replace(
        HUNTER, f'{HUNTER}\nenvironment = {{LEVEL = "info", MODE = "a"}}\nsecrets = {{T = "/t"}}'
    ).replace(
        STAGING,
        f'{STAGING}\nagents.threat-hunter = {{environment = {{LEVEL = "debug"}}, '
        'secrets = {U = "acso/u:key"}}',
    )
    config = parse(text)
    hunter = config.agent("threat-hunter")
    task = config.environment("staging").task(hunter)
    assert task.environment == {"LEVEL": "debug", "MODE": "a"}
    assert task.secrets == {"T": "/t", "U": "acso/u:key"}
    assert config.environment("production").task(hunter).environment["LEVEL"] == "info"


def test_scaling_of_an_agent_comes_before_the_environment_s_and_a_count_turns_it_off() -> None:
    text = TEXT.replace(
        STAGING,
        f"{STAGING}\nscaling = {{min = 2, max = 5, cpu = 60}}\n"
        "agents.supervisor = {desired_count = 1}\n"
        "agents.threat-hunter = {scaling = {min = 3, max = 3, requests = 10}}",
    )
    config = parse(text)
    tasks = {agent.name: config.environment("staging").task(agent) for agent in config.agents}
    assert tasks["supervisor"].scaling is None
    assert tasks["threat-hunter"].scaling == Scaling(min=3, max=3, requests=10)
    assert tasks["incident-response"].scaling == Scaling(min=2, max=5, cpu=60)
    assert tasks["incident-response"].desired_count == 2


def test_the_subnets_of_existing_environments_stay() -> None:
    assert subnet_ranges("10.0.0.0/16") == (
        "10.0.1.0/24",
        "10.0.2.0/24",
        "10.0.101.0/24",
        "10.0.102.0/24",
    )
    assert subnet_ranges("10.9.0.0/22")[3] == "10.9.3.0/24"


def test_a_file_needs_none_of_these_settings() -> None:
    staging = load(ROOT / "tests" / "acso.toml").environment("staging")
    assert (staging.encrypted, staging.network.vpc, staging.scaling) == (False, None, None)
