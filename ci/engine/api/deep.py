"""GraphQL without a limit of depth: a chain of a thousand calls is nested a thousand times.

The parser, the executor and the JSON encoder of the libraries call themselves for each level. Here
a chain, that is a selection of one field, is a loop instead.
"""

import inspect
import json
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionContext,
    FieldNode,
    GraphQLObjectType,
    SelectionNode,
    SelectionSetNode,
    Token,
    TokenKind,
    get_nullable_type,
    is_object_type,
)
from graphql.execution.execute import get_field_def
from graphql.execution.values import get_argument_values
from graphql.language.parser import Parser
from graphql.pyutils import Path


@dataclass(kw_only=True)
class _Open:
    """A selection that is not closed yet, and the start and the head of the field that has it."""

    start: Token
    selections: list[SelectionNode] = field(default_factory=list)
    field_start: Token | None = None
    head: dict[str, Any] = field(default_factory=dict)


class _Parser(Parser):
    def parse_selection_set(self) -> SelectionSetNode:
        """Parse a selection with all that is nested in it."""
        stack = [self._opened()]
        while True:
            top = stack[-1]
            if top.selections and self.expect_optional_token(TokenKind.BRACE_R):
                stack.pop()
                node = SelectionSetNode(selections=tuple(top.selections), loc=self.loc(top.start))
                hash(node)  # kept in the node: later it would ask all inner nodes for theirs
                if top.field_start is None:
                    return node
                loc = self.loc(top.field_start)
                stack[-1].selections.append(FieldNode(**top.head, selection_set=node, loc=loc))
            elif self.peek(TokenKind.SPREAD):
                top.selections.append(self.parse_fragment())
            else:
                start, head = self._lexer.token, self._head()
                if self.peek(TokenKind.BRACE_L):
                    stack.append(self._opened(start, head))
                    continue
                node_of_leaf = FieldNode(**head, selection_set=None, loc=self.loc(start))
                top.selections.append(node_of_leaf)

    def _opened(self, start: Token | None = None, head: dict[str, Any] | None = None) -> _Open:
        opened = _Open(start=self._lexer.token, field_start=start, head=head or {})
        self.expect_token(TokenKind.BRACE_L)
        return opened

    def _head(self) -> dict[str, Any]:
        """Parse a field's alias, name, arguments and directives."""
        name = self.parse_name()
        alias = None
        if self.expect_optional_token(TokenKind.COLON):
            alias, name = name, self.parse_name()
        arguments = self.parse_arguments(is_const=False)
        directives = self.parse_directives(is_const=False)
        return {"alias": alias, "name": name, "arguments": arguments, "directives": directives}


def parse(text: str) -> DocumentNode:
    """Return a query; raises `GraphQLSyntaxError`."""
    return _Parser(text).parse_document()


class ChainContext(ExecutionContext):
    """Executes chains: resolvers of fields that return one object are not coroutines."""

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_nodes: list[FieldNode], path: Path
    ) -> Any:
        """Resolve a field, and those after it as far as each is the only one in its selection."""
        keys: list[str] = []
        while (link := self._link(parent_type, field_nodes)) is not None:
            definition, kind, (key, nodes) = link
            info = self.build_resolve_info(definition, field_nodes, parent_type, path)
            try:
                args = get_argument_values(definition, field_nodes[0], self.variable_values)
                found = self.field_resolver(source, info, **args)
            except Exception:  # it is reported below, with its place
                break
            if inspect.iscoroutine(found):  # it is waited for below
                found.close()
                break
            if found is None:
                break
            keys.append(key)
            parent_type, source, field_nodes = kind, found, nodes
            path = path.add_key(key, kind.name)
        return _nested(keys, super().execute_field(parent_type, source, field_nodes, path))

    def _link(self, parent_type: GraphQLObjectType, nodes: list[FieldNode]) -> Any:
        """Return the definition and the type of a field with its only inner field, else None."""
        definition = get_field_def(self.schema, parent_type, nodes[0])
        if definition.resolve is not None:
            return None
        kind: Any = definition.type
        kind = get_nullable_type(kind)
        if not is_object_type(kind):
            return None
        inner = self.collect_subfields(kind, nodes)
        return (definition, kind, *inner.items()) if len(inner) == 1 else None


def _nested(keys: list[str], value: Any) -> Any:
    if not keys:
        return value
    if isinstance(value, Awaitable):

        async def wait() -> Any:
            return _nested(keys, await value)

        return wait()
    for key in reversed(keys):
        value = {key: value}
    return value


def dumps(result: dict[str, Any]) -> str:
    """Return a response as JSON, however deeply its data is nested."""
    keys, value = [], result.get("data")
    while isinstance(value, dict) and len(value) == 1:
        ((key, value),) = value.items()
        keys.append(key)
    data = "".join(f"{{{json.dumps(key)}: " for key in keys) + json.dumps(value) + "}" * len(keys)
    rest = json.dumps({key: each for key, each in result.items() if key != "data"})
    return f'{{"data": {data}{", " if len(rest) > 2 else ""}{rest[1:]}'
