"""The default network of a container engine, by which its containers reach this machine."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

#: Names of the default network: Docker's, Podman's.
DEFAULT = ("bridge", "podman")


def gateway(network: Mapping[str, Any]) -> str:
    """Return the IPv4 gateway of a network as `inspect` describes it; empty if it has none.

    Docker leaves the gateway out where it is the first address of the subnet.
    """
    for item in network.get("IPAM", {}).get("Config") or []:
        if "." in item.get("Subnet", ""):
            return str(item.get("Gateway") or ip_network(item["Subnet"])[1])
    return ""


def address(container: Mapping[str, Any]) -> str:
    """Return the IPv4 address of a container as `inspect` describes it; empty if it has none.

    The address of the default network if the container is in several. (Docker 29 has no address
    outside `Networks` any more.)
    """
    found = container.get("NetworkSettings", {}).get("Networks") or {}
    ordered = sorted(found.items(), key=lambda item: item[0] not in DEFAULT)
    return next((str(each["IPAddress"]) for _, each in ordered if each.get("IPAddress")), "")
