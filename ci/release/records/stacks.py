"""The stacks that releases leave: templates stored once, by checksum, beside the records."""

import base64
import hashlib
import zlib

from ci.aws import records
from ci.aws.cloudformation import DesiredStack
from ci.release.model import ReleaseContext
from ci.release.records.release import RecordedStack

KIND = "template"


def recorded(stack: DesiredStack | None) -> RecordedStack | None:
    """Return a stack as a record lists it; pure."""
    if stack is None:
        return None
    return RecordedStack(
        name=stack.name,
        template=hashlib.sha256(stack.template.encode()).hexdigest(),
        parameters=dict(stack.parameters),
        tags=dict(stack.tags),
    )


async def write(context: ReleaseContext, stack: DesiredStack | None, token: str) -> None:
    """Store the template of a stack, unless it is stored already."""
    known = recorded(stack)
    if stack is None or known is None:
        return
    packed = base64.b64encode(zlib.compress(stack.template.encode(), 9)).decode()
    document = records.Document(
        kind=KIND, key=known.template, state="", owner=token, body={"zlib": packed}
    )
    # Another release has stored the same text if the table refuses to write it again.
    await records.put(context.aws, context.outputs.releases_table, document)


async def read(context: ReleaseContext, known: RecordedStack | None) -> DesiredStack | None:
    """Return a recorded stack; None if the record has none, or its template is not stored."""
    if known is None:
        return None
    table = context.outputs.releases_table
    found = await records.get(context.aws, table, KIND, known.template)
    if found is None:
        return None
    template = zlib.decompress(base64.b64decode(found.body["zlib"])).decode()
    return DesiredStack(
        name=known.name, template=template, parameters=known.parameters, tags=known.tags
    )


async def delete_unused(context: ReleaseContext, used: set[str]) -> None:
    """Delete the templates that no record lists; `used` are the checksums of the others."""
    table = context.outputs.releases_table
    for document in await records.documents(context.aws, table, KIND):
        if document.key not in used:
            await records.remove(context.aws, table, document)
