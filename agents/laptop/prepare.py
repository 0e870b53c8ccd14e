"""The table and the tokens of the agents on a developer's machine, in the embedded AWS."""

import json
import secrets
from dataclasses import dataclass
from typing import Any

from agents.common.aws import Aws

ENVIRONMENT = "laptop"
TABLE = f"acso-{ENVIRONMENT}-agents"
PERSON = "operator"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the agents need: their table, the secrets of callers, and a person's token."""

    table: str
    people: str
    agents: str
    token: str


def prepare(aws: Aws) -> Prepared:
    """Create the table and secrets of an embedded AWS, as far as missing; tokens stay the same."""
    _table(aws.client("dynamodb"))
    client = aws.client("secretsmanager")
    person = json.dumps({PERSON: secrets.token_urlsafe(32)})
    people = _secret(client, f"acso-{ENVIRONMENT}/people", person)
    agents = _secret(client, f"acso-{ENVIRONMENT}/agents", secrets.token_urlsafe(32))
    token = json.loads(client.get_secret_value(SecretId=people)["SecretString"])[PERSON]
    return Prepared(table=TABLE, people=people, agents=agents, token=token)


def _table(client: Any) -> None:
    keys = (("pk", "HASH"), ("sk", "RANGE"))
    try:
        client.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key, _ in keys],
            KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys],
        )
    except client.exceptions.ResourceInUseException:
        return  # of an earlier start
    client.get_waiter("table_exists").wait(TableName=TABLE)


def _secret(client: Any, name: str, value: str) -> str:
    try:
        return str(client.create_secret(Name=name, SecretString=value)["ARN"])
    except client.exceptions.ResourceExistsException:
        return str(client.describe_secret(SecretId=name)["ARN"])
