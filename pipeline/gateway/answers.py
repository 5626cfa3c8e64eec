"""Answers in one form: JSON, and a refusal is one line."""

import orjson
from starlette.responses import Response

NO_STORE = {"cache-control": "no-store"}


def refusal(status: int, line: str) -> Response:
    return Response(orjson.dumps({"error": line}), status, NO_STORE, "application/json")
