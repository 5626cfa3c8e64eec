"""Whether what is published is what its schema says."""

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from pipeline.schemas import schema


@cache
def validator(name: str) -> Draft202012Validator:
    made = schema(name)
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def faults(name: str, document: Any) -> list[str]:
    """Where a document breaks the schema of that name, and how; empty when it does not."""
    return [f"{error.json_path}: {error.message[:300]}" for error in validator(name).iter_errors(document)]
