"""Queries of any depth: the same result as the library's own for those that it can do."""

import json
from typing import Any

import graphql
import pytest

from ci.engine.api import deep

SCHEMA = graphql.build_schema(
    """
    type Query { node(n: Int!): Node!  nodes: [Node!]! }
    type Node { next(n: Int!): Node!  value: Int!  nothing: Node  wait: Node!  fails: Node! }
    """
)


def resolve(source: Any, info: graphql.GraphQLResolveInfo, n: int = 0) -> Any:
    """Resolve a field of a node, which is a number."""
    match info.field_name:
        case "value":
            return source
        case "nodes":
            return [1, 2]
        case "nothing":
            return None
        case "fails":
            raise ValueError("it fails")
        case "wait":
            return waited(source)
    return (source or 0) + n


async def waited(source: int) -> int:
    return source + 100


async def run(text: str, context: type[graphql.ExecutionContext]) -> dict[str, Any]:
    document = deep.parse(text)
    assert graphql.validate(SCHEMA, document) == []
    found = graphql.execute(
        SCHEMA, document, field_resolver=resolve, execution_context_class=context
    )
    result = found if isinstance(found, graphql.ExecutionResult) else await found
    return dict(result.formatted)


QUERIES = [
    "{ node(n: 1) { value } }",
    "{ node(n: 1) { next(n: 2) { next(n: 3) { value } } } }",
    "{ a: node(n: 1) { b: next(n: 2) { value other: value } } node(n: 5) { value } }",
    "{ nodes { next(n: 1) { value } } }",
    "{ node(n: 1) { nothing { value } } }",
    "{ node(n: 1) { next(n: 1) { fails { value } } } }",
    "{ node(n: 1) { wait { next(n: 1) { value } } } }",
    "query Q { ...All } fragment All on Query { node(n: 1) { ... on Node { value } } }",
    "{ __typename node(n: 1) { __typename } }",
    "{ __schema { queryType { name } } }",
]


@pytest.mark.parametrize("text", QUERIES)
async def test_a_query_has_the_result_of_the_library(text: str) -> None:
    own = await run(text, deep.ChainContext)
    assert own == await run(text, graphql.ExecutionContext)
    assert json.loads(deep.dumps(own)) == own


@pytest.mark.parametrize("text", QUERIES)
def test_a_query_is_parsed_as_by_the_library(text: str) -> None:
    assert deep.parse(text) == graphql.parse(text)
    assert graphql.print_ast(deep.parse(text)) == graphql.print_ast(graphql.parse(text))


@pytest.mark.parametrize("text", ["{", "{ a { b }", "{ a } }", "{ }", "{ a: }", "{ a(b: ) }"])
def test_a_query_that_is_wrong_is_the_same_error(text: str) -> None:
    errors = []
    for parse in (deep.parse, graphql.parse):
        with pytest.raises(graphql.GraphQLSyntaxError) as caught:
            parse(text)
        errors.append(caught.value.formatted)
    assert errors[0] == errors[1]


async def test_a_chain_of_thousands_is_parsed_executed_and_encoded() -> None:
    depth = 3000
    text = "{ node(n: 1) { " + "next(n: 1) { " * depth + "value" + " }" * (depth + 2)
    answer = deep.dumps(await run(text, deep.ChainContext))
    assert answer.endswith(f'"value": {depth + 1}' + "}" * (depth + 3))
    assert answer.startswith('{"data": {"node": {"next": {')
