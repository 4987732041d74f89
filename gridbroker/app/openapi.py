"""The API's own description (OpenAPI 3.1) and its page: every operation with the problems that it may answer with."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Any

from litestar import Litestar, Response, Router
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    Schema,
    SecurityScheme,
)
from litestar.routes import HTTPRoute
from litestar.static_files import create_static_files_router

import gridbroker
from gridbroker.app.problems import MEDIA_TYPE
from gridbroker.identity.guards import public
from gridbroker.identity.idempotency import HEADER, KEEP_HOURS, MAX_KEY_CHARS

PATH = "/docs"
ASSETS = f"{PATH}/assets"
ALWAYS = (400, 401, 429, 500, 503)
"""A malformed or refused key is told even where none is needed."""
GUARDED = (403,)
WITH_PARAMETERS = (404, 422)
WITH_BODY = (404, 409, 413, 415, 422)
_NOBODY_BUT_US = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


def config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Gridbroker",
        version=gridbroker.__version__,
        description="Energy-aware compute broker. Every error is application/problem+json with a `code`.",
        components=Components(security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"key": []}],
        openapi_router=Router(
            PATH,
            route_handlers=[],
            include_in_schema=False,
            response_headers={"Content-Security-Policy": _NOBODY_BUT_US},
        ),
        render_plugins=[
            SwaggerRenderPlugin(
                js_url=f"{ASSETS}/swagger-ui-bundle.js",
                css_url=f"{ASSETS}/swagger-ui.css",
                standalone_preset_js_url=f"{ASSETS}/swagger-ui-standalone-preset.js",
                favicon="<link rel='icon' href='data:,'>",
                path="/",
            )
        ],
    )


def assets() -> Any:
    """Swagger UI's files from its wheel: the docs page asks nobody but us."""
    folder = Path(str(resources.files("swagger_ui"))) / "static"
    return create_static_files_router(path=ASSETS, directories=[folder], guards=[public], include_in_schema=False)


def complete(app: Litestar) -> None:
    """Say of every operation which problems it answers with, which of them need no key, and which take an Idempotency-Key."""
    schema = app.openapi_schema
    components = schema.components
    components.schemas["Problem"] = _problem_schema()
    components.responses = {str(status): _problem_response(status) for status in _all_statuses()}
    for operation, handler in _operations(app):
        open_to_all = public in (handler.guards or ())
        if open_to_all:
            operation.security = []
        if handler.http_methods == {"POST"} and handler.parsed_fn_signature.return_type.is_subclass_of(Response):
            operation.parameters = [*(operation.parameters or []), _IDEMPOTENCY_KEY]
        responses = operation.responses or {}
        responses.pop("400", None)  # Litestar's own form of error, which is never sent
        for status in _statuses(operation, guarded=not open_to_all):
            responses[str(status)] = Reference(f"#/components/responses/{status}")
        operation.responses = responses


def _operations(app: Litestar) -> Iterator[tuple[Operation, HTTPRouteHandler]]:
    for route in app.routes:
        item = (app.openapi_schema.paths or {}).get(route.path_format) if isinstance(route, HTTPRoute) else None
        if item is None or not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            for method in handler.http_methods:
                operation = getattr(item, method.lower(), None)
                if isinstance(operation, Operation) and handler.resolve_include_in_schema():
                    yield operation, handler


def _statuses(operation: Operation, *, guarded: bool) -> Sequence[int]:
    found = {*ALWAYS}
    if guarded:
        found |= {*GUARDED}
    if operation.parameters:
        found |= {*WITH_PARAMETERS}
    if operation.request_body is not None:
        found |= {*WITH_BODY}
    if operation.tags and "workloads" in operation.tags:
        found |= {402, 409}
    return sorted(found)


def _all_statuses() -> Sequence[int]:
    return sorted({*ALWAYS, *GUARDED, *WITH_PARAMETERS, *WITH_BODY, 402})


def _problem_response(status: int) -> OpenAPIResponse:
    content = {MEDIA_TYPE: OpenAPIMediaType(schema=Reference("#/components/schemas/Problem"))}
    return OpenAPIResponse(description=HTTPStatus(status).phrase, content=content)


def _problem_schema() -> Schema:
    text, place = Schema(type=OpenAPIType.STRING), Schema(type=OpenAPIType.STRING, description="JSON Pointer (RFC 6901)")
    error = Schema(type=OpenAPIType.OBJECT, required=["pointer", "detail"], properties={"pointer": place, "detail": text})
    return Schema(
        type=OpenAPIType.OBJECT,
        description="RFC 9457. Go by `code`; `detail` is for people.",
        required=["type", "title", "status", "detail", "code", "request_id"],
        properties={
            **dict.fromkeys(("type", "title", "detail", "code", "request_id", "instance"), text),
            "status": Schema(type=OpenAPIType.INTEGER),
            "reasons": Schema(type=OpenAPIType.OBJECT, additional_properties=Schema(type=OpenAPIType.INTEGER)),
            "errors": Schema(type=OpenAPIType.ARRAY, items=error),
        },
    )


_IDEMPOTENCY_KEY = Parameter(
    name=HEADER,
    param_in="header",
    required=False,
    description="A value of your own for this request, a UUID for instance. A retry with the same value and body within "
    f"{KEEP_HOURS} hours answers as the first did and does nothing again. Required for what costs money.",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_KEY_CHARS),
)
