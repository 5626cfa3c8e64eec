"""The OpenAPI document of what the gateway serves. Documents have the schemas they are published by."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from pipeline.gateway.asked import SUBSCRIBABLE
from pipeline.gateway.documents import READABLE
from pipeline.models.strategies import STRATEGIES
from pipeline.schemas import COMMON, names, schema, schema_name

_JSON, _TEXT = "application/json", "text/plain"
Member = dict[str, Any]

_ERROR: Member = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_PANE: Member = {
    "type": "object", "required": ["pane", "expiration", "root", "settlement", "strikes"],
    "properties": {
        "pane": {"type": "string"}, "expiration": {"type": "string", "format": "date"}, "root": {"type": "string"},
        "settlement": {"enum": ["AM", "PM"]}, "strikes": {"type": "integer"},
    },
}
_TAB: Member = {
    "type": "object", "required": ["symbol", "epoch", "state", "status", "models", "panes"],
    "properties": {
        "symbol": {"type": "string"}, "epoch": {"type": ["string", "null"]}, "state": {"type": ["string", "null"]},
        "status": {"type": ["string", "null"]},
        "models": {"type": "object", "additionalProperties": {"type": "integer"}},
        "panes": {"type": "array", "items": _PANE},
    },
}
_EPOCHS: Member = {
    "type": "object", "required": ["active", "timeline"],
    "properties": {
        "active": {"type": "object", "additionalProperties": {
            "type": "object", "required": ["epoch", "state", "panes"],
            "properties": {"panes": {"type": "array", "items": _PANE}},
        }},
        "timeline": {"type": "object", "additionalProperties": {"type": "array", "items": {
            "type": "object", "required": ["ts", "epoch", "reason"],
            "properties": {"ts": {"type": "integer"}, "epoch": {"type": "string"}, "reason": {"type": "string"}},
        }}},
    },
}
_HEARTBEAT: Member = {
    "type": "object", "required": ["now", "redis", "replay", "market", "symbols"],
    "description": "When the feeds were last heard, and what is published; wall times in ms.",
    "properties": {
        "now": {"type": "integer"}, "redis": {"type": "boolean"}, "replay": {"type": ["object", "null"]},
        "market": {"type": ["string", "null"]},
        "symbols": {"type": "object", "additionalProperties": {
            "type": "object", "required": ["epoch", "state", "feeds", "models"],
            "properties": {
                "epoch": {"type": ["string", "null"]}, "state": {"type": ["string", "null"]},
                "feeds": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}},
                "models": {"type": "object", "additionalProperties": {
                    "type": "object", "required": ["version", "published"],
                    "properties": {"version": {"type": "integer"}, "published": {"type": "integer"}},
                }},
            },
        }},
    },
}
_STATUS: Member = {
    "type": "object", "required": ["stages", "epochs", "models", "dead", "drift", "heartbeat"],
    "properties": {"dead": {"type": "integer"}, "drift": {"type": "integer"}, "heartbeat": _HEARTBEAT},
}
_HISTORY: Member = {
    "type": "object", "required": ["spot", "gravity", "series"],
    "properties": {
        "spot": {"type": "array", "description": "[ms, price], each minute's newest.",
                 "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}},
        "gravity": {"type": "array", "items": {"$ref": "#/components/schemas/dealer_gravity-minute"}},
        "series": {"type": "array", "description": "[ms, spot, net GEX, score of Market Mode, flip], oldest first.",
                   "items": {"type": "array", "minItems": 5, "maxItems": 5, "items": {"type": ["number", "null"]}}},
    },
}
_VIGIL: Member = {
    "type": "array", "description": "As the schema vigil-event, with the id of its entry.",
    "items": {"type": "object", "required": ["id", "type", "symbol", "severity", "ts", "evidence", "key"]},
}
_REPLAYS: Member = {
    "type": "object", "required": ["replays", "recorded"],
    "properties": {
        "replays": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "recorded": {"type": "object", "additionalProperties": {
            "type": "object", "required": ["from_ms", "to_ms"],
            "properties": {"from_ms": {"type": "integer"}, "to_ms": {"type": "integer"}},
        }},
    },
}
_BEGIN: Member = {
    "type": "object", "required": ["symbol", "from_ms", "to_ms"],
    "properties": {
        "symbol": {"type": "string"}, "from_ms": {"type": "integer"}, "to_ms": {"type": "integer"},
        "speed": {"type": "string", "description": "A multiple of the recorded pace, or max.", "default": "max"},
    },
}


def _query(name: str, description: str, values: tuple[str, ...] = ()) -> Member:
    items = {"type": "string", **({"enum": list(values)} if values else {})}
    return {"name": name, "in": "query", "description": description, "style": "form", "explode": False,
            "schema": {"type": "array", "items": items}}


_REPLAY = {"name": "replay", "in": "query", "description": "A replay's name instead of what is live.",
           "schema": {"type": "string"}}
_SYMBOLS = _query("symbols", "Underlyings; all of them where none is named.")
_PANES = _query("panes", "Of heatmap, gex_calls, gex_puts only these: YYYY-MM-DD:ROOT, or YYYY-MM-DD: all roots of it.")
_STRATEGIES = _query("strategies", "Of the heatmap only these.", STRATEGIES)


def _path(name: str, description: str, values: tuple[str, ...] = ()) -> Member:
    return {"name": name, "in": "path", "required": True, "description": description,
            "schema": {"type": "string", **({"enum": list(values)} if values else {})}}


def _answers(description: str, body: Member, *refusals: str, kind: str = _JSON, status: str = "200") -> Member:
    error = {"description": "One line says why.", "content": {_JSON: {"schema": _ERROR}}}
    return {status: {"description": description, "content": {kind: {"schema": body}}},
            **dict.fromkeys((*refusals, "401", "403"), error)}


def _get(summary: str, answers: Member, *parameters: Member) -> Member:
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": answers}}


_STREAM = """Events named after the model: `heatmap`, `gex` ... whole, `heatmap_diff`, `gex_diff` ... as diffs, and
`spot`, `vigil`, `vexy`, `epoch`. A model's event has symbol, model, kind, epoch, base, version, ts, received, published
and document. A diff applies to the version `base`; what is not above the version held is to be ignored. `reset` says to
forget what it names: whole documents follow at once. `heartbeat` comes every two seconds, without an id."""


def _paths() -> Member:
    plain = {"type": "string"}
    documents = {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in sorted(
        {{"vexy": "vexy-intel"}.get(model) or schema_name(model) for model in READABLE}
    )]}
    unchanged = {"304": {"description": "The version that If-None-Match names is the newest."}}
    return {
        "/sse": {"get": {
            "summary": "What is published, as it is published", "description": _STREAM,
            "parameters": [
                _SYMBOLS, _query("models", "What of them.", SUBSCRIBABLE), _PANES, _STRATEGIES, _REPLAY,
                {"name": "last_event_id", "in": "query", "schema": plain,
                 "description": "Where to go on; the header Last-Event-ID counts more. 0 of a replay: its beginning."},
                {"name": "Last-Event-ID", "in": "header", "schema": plain, "description": "The last `id:` there was."},
            ],
            "responses": _answers("Server-sent events", plain, "400", "404", "429", kind="text/event-stream"),
        }},
        "/api/symbols": _get("Underlyings, their epochs, panes and versions",
                             _answers("Each symbol", {"type": "array", "items": _TAB}, "400", "404", "503"), _REPLAY),
        "/api/epochs": _get("Active epochs with their panes, and past ones",
                            _answers("By symbol", _EPOCHS, "400", "404", "503"), _REPLAY),
        "/api/status": _get("Backlog by stage, epochs, versions, feeds",
                            _answers("As `status --json`", _STATUS, "400", "404", "503"), _REPLAY),
        "/api/vigil": _get("The last market events, oldest first", _answers("Events", _VIGIL, "400", "404", "503"),
                           _SYMBOLS, {"name": "limit", "in": "query", "schema": {
                               "type": "integer", "minimum": 1, "maximum": 1000, "default": 100}}, _REPLAY),
        "/api/history/{symbol}": _get("What a page draws before the first event",
                                      _answers("Series", _HISTORY, "400", "404", "503"), _path("symbol", "Underlying"),
                                      _REPLAY),
        "/api/models/{model}/{symbol}": _get(
            "A published document; its ETag is its version",
            _answers("The document", documents, "400", "404", "503") | unchanged, _path("model", "Model", READABLE),
            _path("symbol", "Underlying"), _PANES, _STRATEGIES, _REPLAY,
        ),
        "/api/replays": {
            **_get("Replays, the newest first, and what could be replayed",
                   _answers("Replays", _REPLAYS, "400", "503")),
            "post": {
                "summary": "Replay a window of what is recorded",
                "requestBody": {"required": True, "content": {_JSON: {"schema": _BEGIN}}},
                "responses": _answers("Its name", {"type": "object", "required": ["name"]}, "400", "413", "415",
                                      status="202"),
            },
        },
        "/api/replays/{name}": {"delete": {
            "summary": "End a replay and remove all of it", "parameters": [_path("name", "Replay")],
            "responses": {"204": {"description": "It is gone."}, **{
                code: answer for code, answer in _answers("", plain, "404").items() if code != "200"}},
        }},
        "/api/openapi.json": _get("This document", _answers("OpenAPI 3.1", {"type": "object"})),
        "/healthz": _get("Whether the process is alive", _answers("It is", plain, kind=_TEXT)),
        "/readyz": _get("Whether it does its work", _answers("It does", plain, kind=_TEXT)
                        | {"503": {"description": "Why not", "content": {_TEXT: {"schema": plain}}}}),
        "/metrics": _get("For Prometheus", _answers("Metrics", plain, kind=_TEXT)),
    }


def _schemas() -> dict[str, orjson.Fragment]:
    """Ours, with what they refer to where this document has it."""
    whole = {name: schema(name) for name in names()}
    common_defs = next(iter(whole.values()))["$defs"][COMMON]
    moved = {}
    for name, one in {**whole, COMMON: common_defs}.items():
        told = {member: value for member, value in one.items() if member not in ("$id", "$schema")}
        told["$defs"] = {known: value for known, value in told["$defs"].items() if known != COMMON}
        text = orjson.dumps(told)
        text = text.replace(b'"#/$defs/', f'"#/components/schemas/{name}/$defs/'.encode())
        common = f'"#/components/schemas/{COMMON}/'.encode()
        moved[name] = orjson.Fragment(text.replace(f'"urn:marketswarm:schema:{COMMON}#/'.encode(), common))
    return moved


@cache
def openapi() -> bytes:
    """As JSON."""
    try:
        known = version("marketswarm")
    except PackageNotFoundError:  # run from a checkout that was never installed
        known = "0"
    return orjson.dumps({
        "openapi": "3.1.0",
        "info": {"title": "MarketSwarm gateway", "version": known,
                 "description": "Published convexity models: as events, as documents, and replayed."},
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "security": [{}, {"token": []}, {"session": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "marketswarm"},
            },
            "schemas": _schemas(),
        },
    })
