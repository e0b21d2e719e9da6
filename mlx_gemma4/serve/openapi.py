"""The routes as an OpenAPI description, from the dialects' tables: https://spec.openapis.org/oas.

`/openapi.json` serves it, and the fuzz tests send what it allows and what it does not. It describes
fields, not their content: turns, tools and events are those of the dialects' own documentation.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .. import __version__
from .request import Schema
from .request_fields import CHAT, EMPTY, MESSAGES, RESPONSES, TRANSCRIPTIONS, RequestFields, asks

Json = dict[str, Any]

BODIES: Mapping[str, tuple[str, RequestFields]] = {
    "/v1/chat/completions": ("OpenAI's chat completions", CHAT),
    "/v1/responses": ("OpenAI's Responses", RESPONSES),
    "/v1/messages": ("Anthropic's Messages", MESSAGES),
    "/v1/messages/count_tokens": ("How many tokens a message has", MESSAGES),
    "/v1/audio/transcriptions": ("OpenAI's transcriptions", TRANSCRIPTIONS),
}
"""Routes that take a POST: a summary, and the fields."""
READ: Mapping[str, str] = {
    "/health": "Whether requests can be answered: 200, or 503",
    "/metrics": "Figures for Prometheus, as text",
    "/openapi.json": "This description",
    "/v1/models": "The one model",
    "/v1/models/{name}": "A model by its name",
    "/v1/realtime": "OpenAI's Realtime API: a WebSocket",
}
"""Routes that take a GET: a summary."""


def body(fields: RequestFields) -> Schema:
    """Return the JSON schema of a request; null is the same as nothing."""
    properties: Json = {
        name: schema if name in fields.required else {"oneOf": [schema, {"type": "null"}]}
        for name, schema in fields.read.items()
    }
    for name, neutral in fields.refused.items():
        nothing = [*EMPTY, *(one for one in neutral if asks(one))]
        properties[name] = {"enum": nothing, "description": "Not supported."}
    for name in fields.unused:
        properties[name] = {"description": "Changes no answer."}
    return {"type": "object", "required": [*fields.required], "properties": properties}


def description() -> Json:
    """Return the whole description, OpenAPI 3.1."""
    failed = {"$ref": "#/components/responses/Failed"}
    answers: Json = {"200": {"description": "The answer, or its stream"}, "4XX": failed}
    paths: Json = {}
    for path, (about, fields) in BODIES.items():
        kind = "multipart/form-data" if fields is TRANSCRIPTIONS else "application/json"
        content = {kind: {"schema": body(fields)}}
        asked = {"required": True, "content": content}
        both = {**answers, "5XX": failed}
        paths[path] = {"post": {"summary": about, "requestBody": asked, "responses": both}}
    for path, about in READ.items():
        paths[path] = {"get": {"summary": about, "responses": answers}}
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    paths["/v1/models/{name}"]["parameters"] = [name]
    inner = {"type": "object", "required": ["message", "type"]}
    error = {"type": "object", "required": ["error"], "properties": {"error": inner}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "mlx-gemma4", "version": __version__},
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Failed": {
                    "description": "What went wrong; `param` names the field",
                    "content": {"application/json": {"schema": error}},
                }
            },
        },
    }


async def openapi(_: Request) -> Response:
    """GET /openapi.json."""
    return JSONResponse(description())
