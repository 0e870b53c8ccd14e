"""The published schemas of the JSON that commands print, as validators."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = "json-results.schema.json"
VALIDATION = "validation-results.schema.json"


def published(name: str) -> Any:
    """Return a schema of docs/."""
    return json.loads((DOCS / name).read_text())


REGISTRY: "Registry[Any]" = Registry().with_resources(
    (name, Resource.from_contents(published(name))) for name in (RESULTS, VALIDATION)
)


def validator(schema: Any) -> Draft202012Validator:
    """Return a validator of a schema that may refer to the published ones."""
    return Draft202012Validator(schema, registry=REGISTRY)


def result(name: str) -> Draft202012Validator:
    """Return the validator of a form of result, such as `status`."""
    return validator({"$ref": f"{RESULTS}#/$defs/{name}"})


#: Of the whole document of a command.
DOCUMENT = validator(published("json-output.schema.json"))
