"""Errors of AWS calls as one sentence and a hint, without secrets."""

import re
from collections.abc import Sequence
from typing import Protocol

from ci.errors import AwsError

LOG_IN = "log in (aws sso login, AWS_PROFILE), or use --aws local"
DENIED = re.compile(r"AccessDenied|UnauthorizedOperation|NotAuthorized|AuthorizationError")
EXPIRED = re.compile(r"ExpiredToken|RequestExpired")
#: Error codes of throttled requests.
#: Source: AWS SDKs and Tools Reference Guide, "Retry behavior", throttling errors.
THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
#: Codes of errors that say nothing about the request: no answer, or an error of the service.
#: Source: AWS SDKs and Tools Reference Guide, "Retry behavior", transient errors.
NO_ANSWER = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Unreachable",
    }
)
UNKNOWN_KEYS = re.compile(r"InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId|AuthFailure")
#: IAM's service prefixes that differ from boto3's service names.
#: Source: Service Authorization Reference, "service prefix" of each service.
PREFIXES = {
    "accessanalyzer": "access-analyzer",
    "bedrock-runtime": "bedrock",
    "elbv2": "elasticloadbalancing",
}


class Endpoint(Protocol):
    """The endpoint of a call."""

    @property
    def region(self) -> str:
        """The AWS region."""

    @property
    def endpoint(self) -> str | None:
        """The URL that is called instead of AWS, if any."""


def failure(
    endpoint: Endpoint, service: str, operation: str, error: Exception, secrets: Sequence[str]
) -> AwsError | None:
    """Return an error of botocore as an `AwsError`; None for any other error.

    Args:
        endpoint: of the call.
        service: boto3's name of the service.
        operation: boto3's name of the operation.
        error: the exception.
        secrets: texts to mask in the message.
    """
    from botocore import exceptions as known  # late: boto3's import costs 0.3 s

    code, sentence, hint, action = type(error).__name__, str(error), "", ""
    if isinstance(error, known.ClientError):
        details = error.response.get("Error", {})
        code, sentence = str(details.get("Code", "Unknown")), str(details.get("Message", ""))
        action = _denied_action(service, operation, code, sentence)
        hint = f"missing permission: {action}" if action else _hint(code)
        sentence = f"{code}: {_safe(code, sentence)}"
    elif isinstance(error, known.NoCredentialsError | known.PartialCredentialsError):
        code, sentence, hint = "NoCredentials", "there are no AWS credentials", LOG_IN
    elif isinstance(error, _login_errors()):
        sentence, hint = f"the AWS login cannot be used: {error}", LOG_IN
    elif isinstance(error, known.SSLError):
        code, sentence = (
            "Unreachable",
            f"{_where(endpoint)} has a certificate that is not trusted",
        )
        hint = "behind a proxy with its own CA, set AWS_CA_BUNDLE to its certificate"
    elif isinstance(error, known.ConnectionError | known.HTTPClientError):
        code, sentence = "Unreachable", f"{_where(endpoint)} cannot be reached"
        hint = "check the network: ./acso doctor"
    elif isinstance(error, known.BotoCoreError):
        hint = "check the AWS_ variables, ~/.aws/config, and the region in acso.toml"
    else:
        return None
    for secret in secrets:
        sentence = sentence.replace(secret, "***")
    message = f"{service} {operation}: {sentence}"
    known_by = {"service": service, "operation": operation, "code": code, "action": action}
    return AwsError(message, hint=hint, **known_by)


def throttled(error: AwsError) -> bool:
    """Return whether AWS throttled the call, after all of botocore's own retries."""
    return error.code in THROTTLED


def unanswered(error: AwsError) -> bool:
    """Return whether the call got no answer to its request, after all of botocore's own retries."""
    return error.code in NO_ANSWER


def _login_errors() -> tuple[type[Exception], ...]:
    from botocore import exceptions as known

    return (
        known.CredentialRetrievalError,
        known.LoginError,
        known.ProfileNotFound,
        known.SSOError,
        known.TokenRetrievalError,
    )


def _where(endpoint: Endpoint) -> str:
    return endpoint.endpoint or f"AWS in {endpoint.region}"


def _safe(code: str, sentence: str) -> str:
    # For a wrong signature, AWS quotes the whole request, token included, after the first line.
    return sentence.partition("\n")[0] if "Signature" in code else sentence


def _denied_action(service: str, operation: str, code: str, sentence: str) -> str:
    """Return the denied action as IAM names it; empty for any other error."""
    if not DENIED.search(code):
        return ""
    named = re.search(r"not authorized to perform: ([\w-]+:\w+)", sentence)
    action = "".join(word.capitalize() for word in operation.split("_"))
    return named[1] if named else f"{PREFIXES.get(service, service)}:{action}"


def _hint(code: str) -> str:
    if EXPIRED.search(code):
        return "the credentials have expired: log in again"
    if UNKNOWN_KEYS.search(code) or "Signature" in code:
        return "AWS does not know these credentials: log in again, or correct them"
    return ""
