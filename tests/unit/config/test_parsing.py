"""acso.toml: what is right is read, what is wrong is one line that says where."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.config import FARGATE, Config, load, parse
from ci.errors import ConfigError, UsageError

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "tests" / "acso.toml").read_text()


def test_the_repository_s_own_file_is_right() -> None:
    assert load(ROOT / "acso.toml").agents


def test_agents_and_environments_are_in_the_file_s_order() -> None:
    config = parse(TEXT)
    assert [agent.name for agent in config.agents] == [
        "supervisor",
        "threat-hunter",
        "incident-response",
        "service-orchestration",
        "financial-intelligence",
    ]
    assert list(config.environments) == ["development", "staging", "production"]


def test_containers_are_watched_for_a_bake_time_everywhere_but_in_development() -> None:
    config = parse(TEXT)
    found = {name: env.bake_time for name, env in config.environments.items()}
    assert found == {"development": 0, "staging": 30, "production": 30}


def test_names_are_those_of_the_original_system() -> None:
    config = parse(TEXT)
    staging, hunter = config.environment("staging"), config.agent("threat-hunter")
    assert staging.cluster == "acso-staging-cluster"
    assert staging.service(hunter) == "acso-staging-threat-hunter"
    assert staging.log_group == "/aws/acso/staging/agents"
    assert (hunter.container, hunter.repository) == ("threat-hunter-agent", "acso-threat-hunter")
    assert hunter.package == "threat_hunter"


def test_an_agent_is_rolled_out_after_those_it_calls() -> None:
    waves = [[agent.name for agent in wave] for wave in parse(TEXT).waves()]
    assert waves[-1] == ["supervisor"]
    assert len(waves) == 2


def test_an_environment_gives_one_agent_another_size() -> None:
    own = "[environments.production.agents.threat-hunter]\ndesired_count = 3\nmemory = 4096\n"
    config = parse(TEXT + own)
    production = config.environment("production")
    hunter = production.task(config.agent("threat-hunter"))
    assert (hunter.cpu, hunter.memory, hunter.desired_count) == (1024, 4096, 3)
    assert production.task(config.agent("supervisor")).desired_count == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'branch = "develop"',
            'brnch = "develop"',
            "environments.development.brnch: unknown key, did you mean 'branch'?",
        ),
        (
            "[environments.development]",
            "[environments.development]\necs_exec = 1",
            "environments.development.ecs_exec: must be true or false, not a whole number",
        ),
        (
            "cpu = 256",
            'cpu = "256"',
            "environments.development.cpu: must be a whole number, not a text",
        ),
        (
            "cpu = 256",
            "cpu = true",
            "environments.development.cpu: must be a whole number, not true or false",
        ),
        ("cpu = 256", "cpu = 300", "environments.development.cpu: 300: Fargate has 256, 512"),
        (
            "memory = 512",
            "memory = 600",
            "environments.development.memory: 600: with cpu 256, 512 to 2048 MiB in steps of 512",
        ),
        ("port = 8000", "port = 80000", "defaults.agent.port: 80000 is not a port"),
        ('region = "us-east-1"', "", "environments.development.region: missing value (a text)"),
        (
            'health_path = "/health"',
            'health_path = "health"',
            "defaults.agent.health_path: must begin with '/'",
        ),
        ("[agents.threat-hunter]", "[agents.Threat]", "agents.Threat: names are lower-case words"),
        (
            '"threat-hunter"',
            '"threat-huntr"',
            "agents.supervisor.calls.threat-huntr: unknown key, did you mean 'threat-hunter'?",
        ),
        (
            "[agents.threat-hunter]",
            '[agents.threat-hunter]\ncalls = ["supervisor"]',
            "agents: their `calls` form a cycle",
        ),
        (
            'strategy = "rolling"',
            'strategy = "hope"',
            "defaults.environment.strategy: must be one of rolling",
        ),
        (
            "[environments.staging]",
            '[environments.staging]\naccount = "12"',
            "environments.staging.account: must be twelve digits",
        ),
        (
            "deploy_timeout = 600",
            "deploy_timeout = 0",
            "defaults.environment.deploy_timeout: must be 1 or more",
        ),
        (
            "desired_count = 1",
            "desired_count = 0",
            "defaults.environment.desired_count: must be 1 or more",
        ),
        (
            "keep_releases = 100",
            "keep_releases = 1",
            "defaults.environment.keep_releases: must be 2 or more",
        ),
        (
            "keep_releases = 100",
            "approvals = 1",
            "defaults.environment.approvals: removed; add required reviewers to the GitHub env",
        ),
        (
            "[environments.production]",
            "[environments.production]\napprovals = 1",
            "environments.production.approvals: removed; add required reviewers",
        ),
        (
            'promotes_from = "staging"',
            'promotes_from = "stagin"',
            "environments.production.promotes_from: no other environment 'stagin', did you mean "
            "'staging'?",
        ),
        (
            'promotes_from = "staging"',
            'promotes_from = "production"',
            "environments.production.promotes_from: no other environment 'production'",
        ),
        (
            'promotes_from = "staging"',
            "",
            "environments.production.promotes_from: missing: a GitHub release promotes",
        ),
        (
            'event = "release"',
            'event = "push"',
            "environments.production.event: must be one of release",
        ),
        (
            "[project]",
            '[project]\nrepository = "acso"',
            "project.repository: must be owner/name",
        ),
        (
            "[project]",
            '[project]\nrepository = "o/*"',
            "project.repository: must be owner/name",
        ),
        (
            "[project]",
            '[project]\nowner_id = "1"\nrepository_id = "2"',
            "project.owner_id: needs `repository`",
        ),
        (
            "[project]",
            '[project]\nrepository = "o/acso"\nowner_id = "1"',
            "project: `owner_id` and `repository_id`: set both or neither",
        ),
        (
            "[project]",
            '[project]\nrepository = "o/acso"\nowner_id = "1"\nrepository_id = "*"',
            "project.repository_id: must be digits in quotes",
        ),
        (
            "[project]",
            "[project]\nowner_id = 1",
            "project.owner_id: must be a text, not a whole number",
        ),
        ("[project]", "[projekt]", "projekt: unknown key, did you mean 'project'?"),
        (
            "[defaults.agent]",
            "[defaults.agents]",
            "defaults.agents: unknown key, did you mean 'agent'?",
        ),
    ],
)
def test_a_wrong_value_is_one_line_naming_file_place_and_key(
    old: str, new: str, message: str
) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        parse(TEXT.replace(old, new, 1))
    assert re.match(r"acso\.toml:\d+:\d+: ", str(error.value))
    assert "\n" not in str(error.value)


def test_a_repository_with_both_ids_is_taken() -> None:
    ids = 'repository = "o/acso.ci"\nowner_id = "12"\nrepository_id = "34"'
    project = parse(TEXT.replace("[project]", f"[project]\n{ids}", 1)).project
    assert (project.repository, project.owner_id, project.repository_id) == (
        "o/acso.ci",
        "12",
        "34",
    )


def test_production_promotes_what_staging_has_validated() -> None:
    assert load(ROOT / "acso.toml").environment("production").promotes_from == "staging"


def test_invalid_toml_is_reported_with_its_position() -> None:
    with pytest.raises(ConfigError, match=r"^acso\.toml:2:8: Invalid value$"):
        parse("[project]\nname = !\n[x]")
    twice = r"^acso\.toml:2:5: Cannot declare \[a\.b\] twice$"
    with pytest.raises(ConfigError, match=twice):
        parse("[a.b]\n[a.b]")


def test_a_missing_file_is_reported_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"acso\.toml: No such file"):
        load(tmp_path / "acso.toml")


def test_a_file_that_is_not_text_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "acso.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(path)


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "acso.toml"
    path.write_text(TEXT, encoding="utf-8-sig")
    assert load(path) == parse(TEXT)


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = " + "[" * 5000, "nested too deeply"), ("x = " + "9" * 5000, "digits")],
)
def test_what_the_toml_parser_cannot_take_is_an_error_of_the_file(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"acso.toml: .*{message}"):
        parse(text)


@pytest.mark.parametrize(
    ("old", "new", "where", "written"),
    [
        ("port = 8000", 'port = "x"', "defaults.agent.port", 'port = "x"'),
        ("calls = []  ", "calls = [1]  ", r"defaults.agent.calls\[0\]", "1]"),
        (
            "[agents.threat-hunter]",
            "[agents.threat-hunter]\n  port = 0",
            "agents.threat-hunter.port",
            "port = 0",
        ),
        ("cpu = 512  ", "cpu = 500  ", "defaults.environment.cpu", "cpu = 500"),
        ("cpu = 256", "cpu = 300", "environments.development.cpu", "cpu = 300"),
        ('strategy = "rolling"', "strategy = 1", "defaults.environment.strategy", "strategy"),
        (
            "[environments.staging]",
            "[environments.staging]\nagents.supervisor.cpu = 300",
            "environments.staging.agents.supervisor.cpu",
            "agents.supervisor.cpu",
        ),
        (
            'region = "us-east-1"',
            "",
            "environments.development.region",
            "environments.development]",
        ),
    ],
)
def test_a_value_is_blamed_on_the_table_that_has_it(
    old: str, new: str, where: str, written: str
) -> None:
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    with pytest.raises(ConfigError, match=rf"^acso\.toml:\d+:\d+: {where}: ") as error:
        parse(text)
    line, column = map(int, str(error.value).split(":")[1:3])
    assert text.splitlines()[line - 1][column - 1 :].startswith(written)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('branch = "main"', 'branch = "develop"', "'develop' already releases to development"),
        (
            'branch = "main"',
            'event = "release"\npromotes_from = "development"',
            "environments.production.event: 'release' already releases to staging",
        ),
        ('event = "release"', 'event = "release"\nbranch = "x"', "set one of them"),
    ],
)
def test_an_event_of_the_repository_releases_to_one_environment(
    old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(TEXT.replace(old, new, 1))


def test_a_mistyped_environment_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'prodution'.*did you mean 'production'"):
        parse(TEXT).environment("prodution")


def test_a_mistyped_agent_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'supervisor'"):
        parse(TEXT).agent("supervizor")


@pytest.mark.parametrize(
    ("event", "ref", "name"),
    [
        ("push", "refs/heads/develop", "development"),
        ("push", "refs/heads/main", "staging"),
        ("release", "refs/tags/v1.2.0", "production"),
        ("push", "refs/heads/feature", None),
        ("push", "refs/tags/main", None),
        ("push", "refs/heads/None", None),
        ("push", "refs/heads/", None),
        ("pull_request", "refs/pull/7/merge", None),
    ],
)
def test_events_release_to_their_environment(event: str, ref: str, name: str | None) -> None:
    environment = parse(TEXT).released_by(event, ref)
    assert (environment.name if environment else None) == name


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('packages = ""', "project.unexamined.packages: must say why"),
        ('package = "x"', "project.unexamined.package: unknown key, did you mean 'packages'?"),
    ],
)
def test_a_gate_that_need_not_look_has_a_reason(lines: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(f"{TEXT}\n[project.unexamined]\n{lines}\n")
    assert says in str(raised.value)


@given(st.sampled_from(sorted(FARGATE)), st.integers(min_value=0, max_value=130_000))
def test_exactly_the_sizes_that_fargate_has_are_taken(cpu: int, memory: int) -> None:
    least, most, step = FARGATE[cpu]
    text = TEXT.replace("cpu = 256\nmemory = 512", f"cpu = {cpu}\nmemory = {memory}")
    fits = least <= memory <= most and memory % step == 0
    if fits:
        assert isinstance(parse(text), Config)
    else:
        with pytest.raises(ConfigError, match="memory"):
            parse(text)


@given(st.text(max_size=200))
def test_no_text_raises_anything_but_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)
