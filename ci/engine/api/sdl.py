"""The full surface of Dagger's API as GraphQL, read from the source of the installed client.

`python -m ci.engine.api.sdl` writes `schema.graphql`; a test fails if it is outdated. The client
introspects all of it, so an unsupported field fails here, with a readable error, and not in the
client's query builder.
"""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("schema.graphql")
_SCALARS = {"str": "String", "int": "Int", "bool": "Boolean", "float": "Float", "None": "Void"}
#: Interfaces by the field that makes a type one of theirs.
_INTERFACES = {"id": "Node", "sync": "Syncer", "export": "Exportable"}

Method = ast.FunctionDef | ast.AsyncFunctionDef


def generate() -> str:
    """Return the schema in GraphQL's own language."""
    parts = [part for node in _client() if (part := _definition(node))]
    return "# Made by `python -m ci.engine.api.sdl` from the dagger-io client.\n\n" + "\n".join(
        parts
    )


def _definition(node: ast.ClassDef) -> str:
    bases = _bases(node)
    if "Scalar" in bases:
        return "" if node.name.endswith("ID") else f"scalar {node.name}\n"
    if "Enum" in bases:
        return _block(f"enum {node.name}", list(_members(node)))
    if "Input" in bases:
        return _block(f"input {node.name}", list(_inputs(node)))
    if not bases & {"Type", "Root"}:
        return ""
    methods = [item for item in node.body if isinstance(item, Method)]
    fields = dict(field for method in methods if (field := _field(method, node.name)))
    if node.name.startswith("_"):
        name = node.name.removeprefix("_").removesuffix("Client")
        return _block(f"interface {name}", list(fields.values()))
    own = [name for field, name in _INTERFACES.items() if {field, "id"} <= set(fields)]
    implements = f" implements {' & '.join(own)}" if own else ""
    return _block(f"type {node.name}{implements}", list(fields.values()))


def _block(head: str, lines: list[str]) -> str:
    return "\n".join([head + " {", *(f"  {line}" for line in lines), "}", ""])


def _members(node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if isinstance(item, ast.Assign):
            yield from (target.id for target in item.targets if isinstance(target, ast.Name))


def _inputs(node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            default = _default(item.value) if item.value else ""
            yield f"{item.target.id}: {_type(item.annotation, node.name)}{default}"


def _field(method: Method, owner: str) -> tuple[str, str] | None:
    """Return name and definition of the field that a method of the client asks for, if any."""
    calls = [call for call in ast.walk(method) if isinstance(call, ast.Call)]
    named = {ast.unparse(call.func).rpartition(".")[2]: call for call in calls}
    if reload := named.get("execute_sync"):  # the answer is an id: the object is loaded by it
        name, kind = ast.literal_eval(reload.args[1]), "ID!"
    elif select := named.get("_select"):
        name = ast.literal_eval(select.args[0])
        kind = "ID!" if name == "id" else _type(method.returns, owner)
    else:
        return None
    kinds = {arg.arg: arg.annotation for arg in method.args.args + method.args.kwonlyargs}
    arguments = ", ".join(
        _argument(call, kinds, owner)
        for call in sorted(calls, key=lambda call: call.lineno)
        if isinstance(call.func, ast.Name) and call.func.id == "Arg"
    )
    return name, f"{name}{arguments and f'({arguments})'}: {kind}"


def _argument(call: ast.Call, kinds: dict[str, ast.expr | None], owner: str) -> str:
    """Translate `Arg("name", value, default)`; value is `x` or `[] if x is None else x`."""
    value = call.args[1].orelse if isinstance(call.args[1], ast.IfExp) else call.args[1]
    kind = _type(kinds[ast.unparse(value)], owner, argument=True)
    default = _default(call.args[2]) if len(call.args) > 2 else ""
    return f"{ast.literal_eval(call.args[0])}: {kind}{default}"


def _default(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):  # a member of an enumeration
        return f" = {node.attr}"
    value = ast.literal_eval(node)
    match value:
        case None:
            return ""
        case bool():
            return f" = {str(value).lower()}"
        case str():
            return f' = "{value}"'
    return f" = {value}"


def _type(node: ast.expr | str | None, owner: str, *, argument: bool = False) -> str:
    text = (node if isinstance(node, str) else ast.unparse(node) if node else "None").strip("'\"")
    if text.endswith(" | None"):
        return _type(text.removesuffix(" | None"), owner, argument=argument).removesuffix("!")
    if text.startswith("list["):
        return f"[{_type(text[5:-1], owner, argument=argument)}]!"
    name = _SCALARS.get(text, owner if text == "Self" else text)
    # Objects are given by their id, whatever their type.
    if argument and (name.endswith("ID") or name == "Type" or name in _objects()):
        name = "ID"
    return name if name == "Void" else f"{name}!"


@cache
def _client() -> tuple[ast.ClassDef, ...]:
    found = importlib.util.find_spec("dagger.client")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("dagger-io is not installed")
    tree = ast.parse(Path(found.origin).with_name("gen.py").read_text(encoding="utf-8"))
    return tuple(node for node in tree.body if isinstance(node, ast.ClassDef))


def _bases(node: ast.ClassDef) -> set[str]:
    return {base.id for base in node.bases if isinstance(base, ast.Name)}


@cache
def _objects() -> frozenset[str]:
    return frozenset(node.name for node in _client() if "Type" in _bases(node))


if __name__ == "__main__":
    FILE.write_text(generate(), encoding="utf-8")
