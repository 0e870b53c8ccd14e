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
