"""Amazon Bedrock: the models that an account may use."""

from ci.aws.session import Aws


async def models(aws: Aws) -> list[str]:
    """Return the ids of the foundation models that Bedrock offers here."""
    answer = await aws.call("bedrock", "list_foundation_models")
    return [str(item["modelId"]) for item in answer["modelSummaries"]]
