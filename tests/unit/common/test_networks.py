import pytest

from ci.common import networks


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ([{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.9"}], "172.17.0.9"),
        ([{"Subnet": "172.17.0.0/16"}], "172.17.0.1"),
        ([{"Subnet": "fd00::/64"}, {"Subnet": "10.1.0.0/24"}], "10.1.0.1"),
        ([{"Subnet": "fd00::/64"}], ""),
        (None, ""),
    ],
)
def test_the_gateway_is_the_first_ipv4_address_unless_another_is_set(
    configuration: list[dict[str, str]] | None, expected: str
) -> None:
    assert networks.gateway({"IPAM": {"Config": configuration}}) == expected


def test_a_container_has_the_address_of_its_default_network() -> None:
    # Docker 29 (API 1.52) has addresses in `Networks` only; older ones repeat one above it.
    networked = {"bridge": {"IPAddress": "172.17.0.2"}, "a-net": {"IPAddress": "172.20.0.9"}}
    for settings, expected in [
        ({"Networks": networked}, "172.17.0.2"),
        ({"IPAddress": "172.17.0.2", "Networks": {"a-net": networked["a-net"]}}, "172.20.0.9"),
        ({"Networks": {"podman": {"IPAddress": "10.88.0.3"}}}, "10.88.0.3"),
        ({"Networks": {"slirp4netns": {"IPAddress": ""}}}, ""),
        ({"Networks": None}, ""),
    ]:
        assert networks.address({"NetworkSettings": settings}) == expected
