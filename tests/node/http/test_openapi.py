"""The description is valid, and says what the node does: every path, method, status, field and code."""

import json
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import validate
from starlette.routing import Route

from eigenkms.node.http.errors import STATUS
from tests.authorisation.test_pipeline import CREATOR_KEY
from tests.node.http.support import ReferenceClient, asking
from tests.support.local_node import LocalNode
from tests.support.token_issuer import NOW as ISSUED
from tests.support.token_issuer import gcp_claims, token


async def described(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/openapi.json")).raise_for_status().json()
    return found


async def test_it_is_valid_and_complete(open_node: LocalNode) -> None:
    """OpenAPI 3.1, with the routes that there are and no others, each below each of the servers' paths."""
    async with asking(open_node) as client:
        document = await described(client)
    validate(document)
    assert document["openapi"] == "3.1.0"
    routes = [route for route in open_node.services.key_api.app.routes if isinstance(route, Route)]
    there = {(route.path, method.lower()) for route in routes for method in route.methods or ()}
    said = {(path, method) for path, item in document["paths"].items() for method in item}
    prefixes = [server["url"].rstrip("/").replace("{port}", "{port:int}") for server in document["servers"]]
    assert {(prefix + path, method) for path, method in said for prefix in prefixes} == {
        (path, method) for path, method in there if method != "head"
    }


async def test_every_refusal_stands_at_its_status(open_node: LocalNode) -> None:
    """Of /secrets."""
    async with asking(open_node) as client:
        responses = (await described(client))["paths"]["/secrets"]["post"]["responses"]
    for code, status in STATUS.items():
        assert code in responses[str(status)]["description"], code
        assert ("headers" in responses[str(status)]) == (status in (429, 502, 503)), code


def schema_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": document["components"]}


async def test_requests_and_answers_are_as_described(open_node: LocalNode, node: LocalNode) -> None:
    """Those of the reference's client, those of the node, and refusals."""
    client = ReferenceClient(extra_data=b"x")
    attested, signed = (
        client.with_token(token(gcp_claims(client.nonce))),
        client.signed(CREATOR_KEY, int(ISSUED)),
    )
    async with asking(node) as strict, asking(open_node) as lax:
        document = await described(strict)
        answers = {
            "PubkeyAnswer": await lax.get("/pubkey"),
            "SignAnswer": await lax.post("/app/sign", json={"AppID": "my-app"}),
            "SecretsAnswer": await strict.post("/secrets", json=attested),
            "Health": await lax.get("/health"),
            "Ready": await lax.get("/ready"),
            "Error": await strict.post("/secrets", json={}),
        }
    for name, answer in answers.items():
        jsonschema.validate(answer.json(), schema_of(document, name))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({}, schema_of(document, name))
    for request in (attested, signed):
        jsonschema.validate(request, schema_of(document, "SecretsRequest"))
        assert set(request) <= set(document["components"]["schemas"]["SecretsRequest"]["properties"])
    assert json.dumps(document, indent=2).count("#/components/schemas/") > 20
