"""Questions to a language model (Bedrock Converse), whose answers are never trusted.

An answer is JSON of a given schema or it is no answer; the reason is returned in its place. Source
of the request: Amazon Bedrock API Reference, Converse.
"""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from pydantic import BaseModel, ValidationError

from agents.common.aws import Aws
from agents.common.telemetry.metrics import Metrics

Schema = TypeVar("Schema", bound=BaseModel)
#: Calls for one question, seconds for all of them, and tokens of one answer: the limit of its cost.
ATTEMPTS = 2
TIMEOUT = 8.0
MAX_TOKENS = 800
#: Characters of a question; the rest is cut off.
MAX_QUESTION = 4000

#: Sends a Converse request and returns its answer; raises any error of botocore.
Converse = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[Schema]):
    """A valid answer, or None and the reason."""

    value: Schema | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model; `name` None: there is none, and every question remains unanswered."""

    name: str | None
    converse: Converse
    metrics: Metrics
    timeout: float = TIMEOUT

    async def ask(self, system: str, question: str, schema: type[Schema]) -> Answer[Schema]:
        """Return the answer to a question as an instance of a schema, or why there is none."""
        if self.name is None:
            return Answer(value=None, reason="no model is configured")
        reason = ""
        try:
            with anyio.fail_after(self.timeout):
                for _ in range(ATTEMPTS):
                    answer = await self._once(system, question, schema)
                    if answer.value is not None:
                        return answer
                    reason = answer.reason
        except TimeoutError:
            self.metrics.model("timeout")
            reason = f"the model did not answer within {self.timeout:g} s"
        return Answer(value=None, reason=reason)

    async def problem(self) -> str:
        """Ask for one word; return why there is no answer, empty if there is one."""
        try:
            with anyio.fail_after(self.timeout):
                await self.converse(self._request("Answer with one word.", "Are you there?", 1))
        except TimeoutError:
            self.metrics.model("timeout")
            return f"the model did not answer within {self.timeout:g} s"
        except Exception as error:
            self.metrics.model("error")
            return f"the model failed: {type(error).__name__}: {error}"[:300]
        return ""

    async def _once(self, system: str, question: str, schema: type[Schema]) -> Answer[Schema]:
        try:
            answer = await self.converse(self._request(system, question))
            text = "".join(part.get("text", "") for part in answer["output"]["message"]["content"])
        except Exception as error:
            self.metrics.model("error")
            return Answer(value=None, reason=f"the model failed: {type(error).__name__}")
        usage = answer.get("usage", {})
        tokens_in, tokens_out = usage.get("inputTokens", 0), usage.get("outputTokens", 0)
        value = parsed(text, schema)
        outcome = "invalid" if value is None else "ok"
        self.metrics.model(outcome, tokens_in=tokens_in, tokens_out=tokens_out)
        reason = "" if value else "the model's answer is not of the required form"
        return Answer(value=value, reason=reason)

    def _request(self, system: str, question: str, most: int = MAX_TOKENS) -> dict[str, Any]:
        return {
            "modelId": self.name,
            "system": [{"text": system}],
            "messages": [{"role": "user", "content": [{"text": question[:MAX_QUESTION]}]}],
            "inferenceConfig": {"maxTokens": most, "temperature": 0.0},
        }


def parsed(text: str, schema: type[Schema]) -> Schema | None:
    """Return the JSON object in a text as an instance of a schema; None if there is none."""
    found = re.search(r"\{.*\}", text, re.DOTALL)
    if found is None:
        return None
    try:
        return schema.model_validate(json.loads(found.group()))
    except (ValueError, ValidationError, RecursionError):
        return None


def bedrock(aws: Aws) -> Converse:
    """Return what calls Bedrock with the task's role."""

    def blocking(request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = aws.client(
            "bedrock-runtime", timeout=TIMEOUT, attempts=1
        ).converse(**request)
        return answer

    async def converse(request: dict[str, Any]) -> dict[str, Any]:
        return await anyio.to_thread.run_sync(blocking, request, abandon_on_cancel=True)

    return converse
