"""The keys of every JSON document, from the types in the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptconv.report.documents import DOCUMENTS, json_schema


def documents() -> str:
    """Return a section for each kind of document: its keys, then those of the objects in it."""
    return "\n".join(line for name in DOCUMENTS for line in _section(name))


def _section(name: str) -> Iterator[str]:
    schema: Any = json_schema(name)
    yield from (f"## {name}", "", schema["description"], "")
    yield from _table(schema)
    for kind, entry in schema["$defs"].items():
        yield from ("", f"**{kind}**: {entry['description']}", "")
        yield from _table(entry)
    yield ""


def _table(schema: Mapping[str, Any]) -> Iterator[str]:
    yield from ("| key | type | |", "|---|---|---|")
    for key, value in schema["properties"].items():
        mark = "" if key in schema["required"] or key.startswith("schema") else " (optional)"
        note = value.get("description", "").replace("|", "\\|")
        yield f"| `{key}` | {_type(value).replace('|', chr(92) + '|')}{mark} | {note} |"


def _type(schema: Mapping[str, Any]) -> str:
    if "const" in schema:
        return f"`{schema['const']!r}`"
    if "enum" in schema:
        return " or ".join(f"`{choice}`" for choice in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object":
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "anything"))
