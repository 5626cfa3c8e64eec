"""The OpenAPI document is one, and says what is served."""

from typing import Any

import httpx
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.routing import Route

from pipeline.gateway.app import Gateway
from pipeline.schemas import schema_name
from tests.gateway.conftest import Served

MODELS = ("heatmap", "gex", "gex_calls", "market_mode", "spot")


def document(served: Served) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{served.url}/api/openapi.json").json()
    return found


def test_it_is_a_valid_document_of_every_route_there_is(served: Served) -> None:
    told = document(served)
    validate(told)
    app = Gateway(None, None, served.settings, str).app()  # type: ignore[arg-type]
    pages = {"/", "/favicon.ico", "/dashboard"}
    routes = {
        (route.path, method.lower()) for route in app.routes if isinstance(route, Route) and route.path not in pages
        for method in (route.methods or {"GET"}) - {"HEAD"}
    }
    assert {(path, method) for path, methods in told["paths"].items() for method in methods} == routes


def test_what_is_answered_is_what_it_says(served: Served) -> None:
    served.begin()
    for number in range(3):
        served.tick(number)
    told = document(served)
    paths = ["symbols", "epochs", "status", "vigil", "history/SPX", "replays"]
    for path in paths + [f"models/{one}/SPX" for one in MODELS]:
        model = path.split("/")[1] if path.startswith("models") else ""
        template = "/api/" + path.replace("/SPX", "/{symbol}").replace(f"/{model}/", "/{model}/" if model else "/")
        body = told["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        if model:
            of_model = {"$ref": f"#/components/schemas/{schema_name(model)}"}
            assert of_model in body["oneOf"]
            body = of_model
        answer = httpx.get(f"{served.url}/api/{path}").json()
        validator = Draft202012Validator({**body, "components": told["components"]})
        assert [error.message[:200] for error in validator.iter_errors(answer)] == [], path
        if model:
            assert not validator.is_valid({**answer, "symbol": 7})
