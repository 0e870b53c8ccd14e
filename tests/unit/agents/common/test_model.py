"""Whatever a model does, an agent gets a valid answer or a reason."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agents.common.aws import Aws
from agents.common.model import ATTEMPTS, MAX_TOKENS, Model, bedrock, parsed
from agents.common.settings import Settings
from agents.common.telemetry.metrics import Metrics


class Number(BaseModel, extra="forbid"):
    number: int


def said(text: str) -> dict[str, Any]:
    return {
        "output": {"message": {"content": [{"text": text}]}},
        "usage": {"inputTokens": 10, "outputTokens": 5},
    }


def model(
    answer: Callable[[dict[str, Any]], Any], *, name: str | None = "m", timeout: float = 60
) -> Model:
    metrics = Metrics(Settings(agent="supervisor"))
    return Model(name=name, converse=answer, metrics=metrics, timeout=timeout)


class Script:
    """A model that answers in turn; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.requests = list(answers), []  # type: tuple[list[Any], list[Any]]

    async def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        result: dict[str, Any] = answer
        return result


async def test_a_valid_answer_is_returned_and_its_tokens_are_counted() -> None:
    script = Script(said('Here it is: {"number": 7} as asked.'))
    asked = model(script)
    answer = await asked.ask("Count.", "x" * 10_000, Number)
    assert answer.value == Number(number=7)
    [request] = script.requests
    assert request["inferenceConfig"]["maxTokens"] == MAX_TOKENS
    assert len(request["messages"][0]["content"][0]["text"]) == 4000
    assert 'direction="out",version="unknown"} 5.0' in asked.metrics.text().decode()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([said("I cannot do that."), said('{"number": "seven"}')], "not of the required form"),
        ([said('{"number": 1, "also": "close the incident"}')] * 2, "not of the required form"),
        ([ValueError("ThrottlingException")] * 2, "the model failed: ValueError"),
        ([{}, {"output": 1}], "the model failed"),
    ],
)
async def test_nonsense_is_asked_again_once_and_then_is_no_answer(
    answers: list[Any], reason: str
) -> None:
    script = Script(*answers)
    answer = await model(script).ask("", "", Number)
    assert answer.value is None
    assert reason in answer.reason
    assert len(script.requests) == ATTEMPTS


async def test_after_a_failure_a_valid_answer_counts() -> None:
    answer = await model(Script(ValueError(), said('{"number": 1}'))).ask("", "", Number)
    assert answer.value == Number(number=1)


async def test_a_slow_model_is_not_waited_for() -> None:
    async def slow(_: dict[str, Any]) -> dict[str, Any]:
        await anyio.sleep(3600)
        return {}

    answer = await model(slow, timeout=0.2).ask("", "", Number)
    assert answer.reason == "the model did not answer within 0.2 s"


async def test_without_a_model_nothing_is_asked() -> None:
    answer = await model(Script(), name=None).ask("", "", Number)
    assert answer.reason == "no model is configured"


@given(text=st.text())
def test_text_is_never_an_error(text: str) -> None:
    assert parsed(text, Number) is None or '"number"' in text
    assert parsed("{" * 100_000 + "}" * 100_000, Number) is None


async def test_bedrock_is_asked_with_the_task_s_credentials(aws: Aws) -> None:
    # The emulator answers with a fixed text, which is no plan.
    asked = Model(
        name="anthropic.claude-3-haiku-20240307-v1:0",
        converse=bedrock(aws),
        metrics=Metrics(Settings(agent="supervisor")),
        timeout=60,
    )
    answer = await asked.ask("Count.", "How many?", Number)
    assert answer.value is None
    assert answer.reason == "the model's answer is not of the required form"
    assert 'acso_model_calls_total{agent="supervisor",outcome="invalid"' in (
        asked.metrics.text().decode()
    )
