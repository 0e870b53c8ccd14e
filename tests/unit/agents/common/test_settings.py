import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.common.settings import Settings, SettingsError, read


def test_without_an_environment_an_agent_listens_on_loopback_only() -> None:
    assert read("supervisor", {}) == Settings(agent="supervisor", host="127.0.0.1", port=8000)


def test_everything_comes_from_the_environment() -> None:
    environ = {
        "ACSO_AGENT": "supervisor",
        "ACSO_ENVIRONMENT": "staging",
        "ACSO_VERSION": "v",
        "ACSO_DIGEST": "sha256:0",
        "HOST": "127.0.0.2",
        "PORT": "9000",
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
        "ACSO_STATE_TABLE": "t",
        "ACSO_URL": "http://127.0.0.1:1",
        "ACSO_MODEL": "m",
        "ACSO_PEOPLE_SECRET": "arn:people",
        "ACSO_AGENTS_SECRET": "arn:agents",
    }
    assert read("supervisor", environ) == Settings(
        agent="supervisor",
        environment="staging",
        version="v",
        digest="sha256:0",
        host="127.0.0.2",
        port=9000,
        region="eu-west-1",
        endpoint="http://127.0.0.1:4566",
        state_table="t",
        url="http://127.0.0.1:1",
        model="m",
        secrets={"person": "arn:people", "agent": "arn:agents"},
    )


def test_an_empty_variable_is_not_set() -> None:
    environ = dict.fromkeys(("ACSO_AGENT", "PORT", "AWS_ENDPOINT_URL", "ACSO_STATE_TABLE"), "")
    assert read("supervisor", environ) == Settings(agent="supervisor")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "80a", "8_0", " 80", "²", "٣"])
def test_an_invalid_port_is_named(port: str) -> None:
    with pytest.raises(SettingsError, match="PORT is"):
        read("supervisor", {"PORT": port})


@given(port=st.integers(1, 65535))
def test_every_real_port_is_accepted(port: int) -> None:
    assert read("supervisor", {"PORT": str(port)}).port == port


def test_the_environment_of_another_agent_is_refused() -> None:
    with pytest.raises(SettingsError, match="ACSO_AGENT is 'threat-hunter'"):
        read("supervisor", {"ACSO_AGENT": "threat-hunter"})
