"""AWS without a network: real clients of botocore, and answers that its service models accept."""

import copy
import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from botocore.exceptions import ReadTimeoutError
from botocore.session import Session
from botocore.validate import ParamValidator

from ci.aws.failures import failure
from ci.aws.session import Aws, while_throttled

#: The argument by which an answer is chosen, where an operation has an answer for each resource.
CHOSEN_BY = {
    "DescribeContinuousBackups": "TableName",
    "DescribeImages": "repositoryName",
    "DescribeKey": "KeyId",
    "DescribeTable": "TableName",
    "DescribeTargetHealth": "TargetGroupArn",
    "DescribeTaskDefinition": "taskDefinition",
}
#: The error of an operation whose resource does not exist.
ABSENT = {
    "DescribeCertificate": "ResourceNotFoundException",
    "DescribeImages": "ImageNotFoundException",
    "DescribeKey": "NotFoundException",
    "DescribeTable": "ResourceNotFoundException",
    "DescribeContinuousBackups": "TableNotFoundException",
    "DescribeTaskDefinition": "ClientException",
    "GetBucketPolicy": "NoSuchBucketPolicy",
    "GetPublicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "GetTopicAttributes": "NotFound",
}
DENIED, THROTTLED, TIMEOUT, EMPTY, ENDLESS = "denied", "throttled", "timeout", "empty", "endless"
DOCUMENTS = ("AssumeRolePolicyDocument", "PolicyDocument", "Document")
Answer = dict[str, Any]
_account: ContextVar["Account"] = ContextVar("account")


@dataclass
class Account:
    """Answers by `service.Operation`, with the resource's name after a space where it matters.

    `faults` are kinds of faults by `service.Operation`, or by `*` for every one. Each call is in
    `calls`.
    """

    answers: dict[str, Answer]
    faults: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Answer:
        """Return an answer, to be changed."""
        return self.answers[name]

    @contextmanager
    def current(self) -> Iterator[None]:
        """Answer all clients."""
        token = _account.set(self)
        try:
            yield
        finally:
            _account.reset(token)


@dataclass(frozen=True, kw_only=True)
class FakeAws(Aws):
    """Access whose calls are answered by the current account, without threads."""

    def client(self, service: str) -> Any:
        return _client(service)

    async def _run(
        self, service: str, operation: str, use: Any, arguments: Mapping[str, Any]
    ) -> Any:
        async def attempt() -> Any:
            try:
                return use(self.client(service))
            except Exception as error:
                known = failure(self, service, operation, error, ())
                if known is None:
                    raise
                raise known from None

        del arguments
        return await while_throttled(attempt)


def pages(name: str) -> bool:
    """Return whether a call, `service.Operation`, has pages."""
    service, _, operation = name.partition(".")
    return bool(_client(service).can_paginate(_snake(operation)))


def _snake(operation: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).strip("_")


@functools.cache
def _session() -> Session:
    return Session()


@functools.cache
def _client(service: str) -> Any:
    client = _session().create_client(
        service,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.meta.events.register("before-parameter-build", _keep)
    client.meta.events.register("before-call", functools.partial(_answer, client))
    return client


def _keep(params: Any, context: Any, **_: Any) -> None:
    context["arguments"] = params


class _Response:
    """What botocore looks at of an HTTP response."""

    def __init__(self, status: int) -> None:
        self.status_code = status


def _answer(client: Any, model: Any, context: Any, **_: Any) -> tuple[_Response, Answer]:
    account = _account.get()
    name = f"{client.meta.service_model.service_name}.{model.name}"
    account.calls.append(name)
    fault = account.faults.get(name) or account.faults.get("*", "")
    if fault == TIMEOUT:
        raise ReadTimeoutError(endpoint_url="https://aws")
    if fault == DENIED:
        return _error(403, "AccessDeniedException", "not allowed")
    if fault == THROTTLED:
        return _error(400, "ThrottlingException", "Rate exceeded")
    arguments = context["arguments"]
    chosen = CHOSEN_BY.get(model.name)
    key = f"{name} {arguments[chosen]}" if chosen else name
    if key not in account.answers:
        return _error(400, ABSENT[model.name], "it does not exist")
    found = _texts(copy.deepcopy(account.answers[key]))
    if fault == EMPTY:
        found = {k: [] if isinstance(v, list) else v for k, v in found.items()}
    if fault == ENDLESS:
        _endless(client, model, found, len(account.calls))
    _validate(found, model.output_shape)
    return _Response(200), found | {"ResponseMetadata": {"HTTPStatusCode": 200}}


def _error(status: int, code: str, message: str) -> tuple[_Response, Answer]:
    return _Response(status), {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {}}


def _texts(value: Any) -> Any:
    """Return an answer with policy documents as IAM sends them."""
    if isinstance(value, list):
        return [_texts(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: quote(json.dumps(item)) if key in DOCUMENTS else _texts(item)
        for key, item in value.items()
    }


def _endless(client: Any, model: Any, found: Answer, number: int) -> None:
    """Add a token of a next page that is never the last one."""
    snake = _snake(model.name)
    if not client.can_paginate(snake):
        return
    settings = client.get_paginator(snake)._pagination_config
    tokens = settings["output_token"]
    for token in tokens if isinstance(tokens, list) else [tokens]:
        shape = model.output_shape.members[token.partition(" ")[0]]
        found[token.partition(" ")[0]] = (
            {"pk": {"S": str(number)}} if shape.type_name == "map" else f"token {number}"
        )
    if more := settings.get("more_results"):
        found[more] = True


def _validate(found: Answer, shape: Any) -> None:
    """Fail for an answer that AWS cannot give."""
    report = ParamValidator().validate(found, shape)
    assert not report.has_errors(), report.generate_report()
    _known(found, shape)


def _known(value: Any, shape: Any) -> None:
    if shape.type_name == "structure":
        assert value.keys() <= shape.members.keys(), (shape.name, value.keys())
        for key, item in value.items():
            _known(item, shape.members[key])
    elif shape.type_name == "list":
        for item in value:
            _known(item, shape.member)
