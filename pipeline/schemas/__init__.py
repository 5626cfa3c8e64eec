"""JSON Schemas (draft 2020-12) of everything published: documents, their diffs, events.

A file a schema, named as the first part of a document's ``schema`` member; ``common`` holds what several share. The
files are for any language; nothing here validates, so that running the pipeline needs no validator.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import orjson

COMMON = "common"
_VIEWS = ("butterfly", "vertical", "single")
_NAMES = {
    "gex_calls": "gex-side", "gex_puts": "gex-side", **{f"heatmap_{strategy}": "heatmap-view" for strategy in _VIEWS},
}


class UnknownSchema(KeyError):
    """No schema of that name."""


@cache
def names() -> tuple[str, ...]:
    """Every schema there is, by name; ``common`` is no document's."""
    found = (entry.name for entry in files(__name__).iterdir() if entry.name.endswith(".json"))
    return tuple(sorted(name.removesuffix(".json") for name in found if name != f"{COMMON}.json"))


def schema(name: str) -> dict[str, Any]:
    """A schema that stands alone: what it refers to is within it. Raises UnknownSchema."""
    if name not in names():
        raise UnknownSchema(name)
    found = _read(name)
    return {**found, "$defs": {**found.get("$defs", {}), COMMON: _read(COMMON)}}


def schema_name(model: str, kind: str = "full") -> str:
    """The schema of a model's documents (``full``) or of its diffs (``diff``). Raises UnknownSchema.

    ``model`` as in the model stream: heatmap, gex, gex_calls, heatmap_butterfly ... A document that is always published
    whole, or not announced, has no diff.
    """
    name = _NAMES.get(model, model)
    name = name if kind == "full" else f"{name}-{kind}"
    if name not in names():
        raise UnknownSchema(f"{model} ({kind})")
    return name


@cache
def _read(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(files(__name__).joinpath(f"{name}.json").read_bytes())
    return parsed
