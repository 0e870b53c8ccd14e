"""AWS IAM: whom the account trusts to tell who somebody is."""

from ci.aws.session import Aws


async def identity_providers(aws: Aws) -> list[str]:
    """Return the hosts of the account's OIDC identity providers."""
    answer = await aws.call("iam", "list_open_id_connect_providers")
    found = (str(item["Arn"]) for item in answer["OpenIDConnectProviderList"])
    return [arn.partition(":oidc-provider/")[2] for arn in found]
