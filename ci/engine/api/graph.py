"""Execution of GraphQL queries; every field goes through one resolver.

An object is the chain of calls that made it (see `ids`), so a field that returns an object only
adds a link. Fields that return data are evaluated by the engine.
"""

import inspect
import secrets
from pathlib import Path
from typing import Any

import graphql
from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_composite_type,
)

from ci.engine.api import (  # fill the table of fields
    container,  # noqa: F401
    deep,
    file,  # noqa: F401
    files,  # noqa: F401
    query,
    remote,  # noqa: F401
)
from ci.engine.api.sdl import FILE
from ci.engine.errors import UnsupportedError
from ci.engine.execution.session import Engine
from ci.engine.fields import Args, Resolver, checked_arguments, resolver
from ci.engine.formats import platforms
from ci.engine.ids import Call, decode, encode
from ci.engine.store.cache import key_of

SCHEMA_VERSION = "__schemaVersion"
#: Part of Dagger's API but not of what introspection shows: GraphQL reserves names of this form.
HIDDEN = f"\nextend type Query {{ {SCHEMA_VERSION}: String! }}\n"


class Graph:
    """The schema, bound to the engine of one session."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._text = FILE.read_text(encoding="utf-8")
        self._version = key_of(self._text, graphql.version)
        self._schema = _schema(self._text + HIDDEN)

    async def answer(
        self, text: str, variables: dict[str, Any] | None, operation: str | None
    ) -> bytes:
        """Return the response to a query in JSON; errors are part of it."""
        cached = self._introspection(text)
        if cached is not None and cached.exists():
            return cached.read_bytes()
        schema = self._schema if cached is None else _schema(self._text)
        try:
            result = await self._executed(schema, text, variables, operation)
        except RecursionError:
            result = ExecutionResult(None, [GraphQLError("the query is nested too deeply")])
        answer = deep.dumps(dict(result.formatted)).encode()
        if cached is not None and not result.errors:
            self._engine.store.replace(cached, answer)
        return answer

    async def _executed(
        self,
        schema: GraphQLSchema,
        text: str,
        variables: dict[str, Any] | None,
        operation: str | None,
    ) -> ExecutionResult:
        try:
            document = deep.parse(text)
        except GraphQLError as error:
            return ExecutionResult(None, [error])
        if errors := graphql.validate(schema, document):
            return ExecutionResult(None, errors)
        found = graphql.execute(
            schema,
            document,
            variable_values=variables,
            operation_name=operation or None,  # clients in Go send an empty name
            field_resolver=self._resolve,
            type_resolver=lambda call, *_: call.type,
            execution_context_class=deep.ChainContext,
        )
        return await found if inspect.isawaitable(found) else found

    def _introspection(self, text: str) -> Path | None:
        """Return where the response to an introspection query is cached; None for other queries."""
        if not text.lstrip().startswith("query IntrospectionQuery"):
            return None
        return self._engine.store.root / f"schema-{key_of(self._version, text)[:20]}.json"

    def _resolve(self, source: Call | None, info: GraphQLResolveInfo, /, **given: Any) -> Any:
        owner, field = info.parent_type.name, info.field_name
        types = info.parent_type.fields[field].args
        loaded = {key: _loaded(value, types[key].type) for key, value in given.items()}
        if owner == "Query" and (field == "node" or field.startswith("load")):
            return loaded["id"]
        if field == "id":
            return encode(source or Call("Query", "query"))
        if field == SCHEMA_VERSION:
            return query.VERSION
        name = f"{owner}.{field}"
        answer = resolver(owner, field)
        if answer is None:
            raise UnsupportedError(name)
        args = checked_arguments(name, loaded)
        kind: Any = info.return_type
        kind = get_nullable_type(kind)
        if is_composite_type(kind):
            if name == "Query.setSecret":
                args["plaintext"] = self._hidden(args["plaintext"])
            if args.noCache:  # another object for each request
                args["noCache"] = secrets.token_hex(8)
            return Call(str(kind), field, source, tuple(sorted(args.items())))
        return self._answer(answer, source, args, str(kind))

    def _hidden(self, plaintext: str) -> str:
        """Keep a secret's value in memory and return its hash, which ids contain instead."""
        value = plaintext.encode()
        digest = self._engine.store.hash_secret(value)
        self._engine.plaintexts[digest] = value
        return digest

    async def _answer(self, answer: Resolver, source: Call | None, args: Args, kind: str) -> Any:
        found = await self._engine.field(source, answer, args)
        return encode(source) if kind == "ID" and source is not None else found


def _schema(text: str) -> graphql.GraphQLSchema:
    found = graphql.build_schema(text, assume_valid=True, assume_valid_sdl=True, no_location=True)
    platform = found.type_map["Platform"]
    if isinstance(platform, GraphQLScalarType):  # the way to parse a scalar of a schema in SDL
        platform.parse_value = platforms.normalized  # type: ignore[assignment, method-assign]
    return found


def _loaded(value: Any, kind: Any) -> Any:
    """Return an argument with its ids replaced by their objects."""
    kind = get_nullable_type(kind)
    if value is None or isinstance(get_named_type(kind), GraphQLInputObjectType):
        return value
    if isinstance(kind, GraphQLList):
        return [_loaded(item, kind.of_type) for item in value]
    if kind.name != "ID":
        return value
    return decode(str(value))
