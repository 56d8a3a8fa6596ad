"""What the JSON Schemas of the gate's documents are made of."""

from __future__ import annotations

from typing import Any

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": ["number", "null"]}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}


def document_of(title: str, properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of a whole document with exactly these fields."""
    return {"$schema": DRAFT, "title": title} | object_of(properties)


def object_of(properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with exactly these fields."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
