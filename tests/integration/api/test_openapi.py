"""The description of the API: complete, true under fire, and served without asking anybody else."""

import asyncio
import contextlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import InvalidArgument, Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.core.clock import FakeClock
from gridbroker.core.db import connect
from gridbroker.identity.role import OrganisationKind, Role
from tests.integration.api.support import Api, post

METHODS = {"get", "post", "put", "patch", "delete", "head"}
PROBLEM = "application/problem+json"


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    return api.litestar.openapi_schema.to_schema()


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


async def test_it_is_openapi_3_1_and_says_what_is_served(api, document):
    assert document["openapi"].startswith("3.1")
    served = (await api.client().get("/docs/openapi.json")).json()
    assert served["paths"].keys() == document["paths"].keys()
    assert served["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_operation_names_its_problems(document):
    for name, operation in operations(document):
        problems = {status for status in operation["responses"] if status >= "400"}
        needed = {"400", "401", "429", "500"}
        if operation.get("security") != []:
            needed |= {"403"}
        if "requestBody" in operation:
            needed |= {"404", "409", "413", "415", "422"}
        if operation.get("parameters"):
            needed |= {"404", "422"}
        assert needed <= problems, (name, needed - problems)
        for status in problems:
            reference = operation["responses"][status]["$ref"].rpartition("/")[2]
            assert list(document["components"]["responses"][reference]["content"]) == [PROBLEM]


def test_only_what_is_public_needs_no_key(document):
    public = {name for name, operation in operations(document) if operation.get("security") == []}
    assert public == {"GET /health", "GET /ready", "GET /metrics", "GET /.well-known/did.json", "POST /api/v1/nodes"}


def test_what_creates_takes_an_idempotency_key(document):
    keyed = {
        name
        for name, operation in operations(document)
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
    }
    assert keyed >= {f"POST /api/v1/{name}" for name in ("workloads", "keys", "organisations", "wallet/top-ups", "node-tokens")}


async def test_the_page_loads_from_us_alone(api):
    client = api.client()
    page = await client.get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    links = re.findall(r"""(?:src|href|action)\s*=\s*["']([^"']+)["']""", page.text.split("const ")[0].split("spec:")[0])
    assets = [link for link in links if not link.startswith("data:")]
    assert len(assets) >= 3
    for link in assets:
        assert not urlsplit(link).netloc, f"{link} is another host's"
        answer = await client.get(link)
        assert answer.status_code == 200 and len(answer.content) > 100, link
    style = (await client.get("/docs/assets/swagger-ui.css")).text
    outside = re.findall(r"(?:url\(|@import)[^;)]*https?:", style)
    assert outside == []


async def test_assets_do_not_lead_out_of_their_folder(api):
    client = api.client()
    for path in ("../__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "....//__init__.py", "/etc/passwd", "%00"):
        answer = await client.get(f"/docs/assets/{path}")
        assert answer.status_code == 404, path


EXAMPLES = 6
"""For each operation and mode: enough to meet the edges of its schema, few enough to wait for."""


@dataclass(frozen=True)
class Known:
    """Who asks, and ids that exist, so that what is generated gets past the first 404."""

    developer: httpx.AsyncClient
    provider: httpx.AsyncClient
    admin: httpx.AsyncClient
    agent: httpx.AsyncClient
    ids: dict[str, str]

    def client_for(self, path: str) -> httpx.AsyncClient:
        if "/nodes/self" in path:
            return self.agent
        if "/organisations" in path:
            return self.admin
        return self.provider if re.search(r"/(nodes|node-tokens|payouts)", path) else self.developer


async def known(api: Api) -> Known:
    await api.refresh_grid()
    customer, provider = await api.developer(), await api.provider()
    life = await api.run_to_receipt(customer, provider)
    running = await api.submit(customer)
    orders = (await provider.agent.get("/api/v1/nodes/self/orders")).json()["orders"]
    key = (await post(customer.http, "/api/v1/keys", {"name": "spare", "role": "developer"})).json()["id"]
    ids = {
        "workload_id": running,
        "decision_id": life.decision_id,
        "receipt_id": life.receipt_id,
        "node_id": provider.node_id,
        "key_id": key,
        "placement_id": orders[0]["placement_id"],
    }
    admin = api.client(await api.key(await api.organisation(OrganisationKind.PLATFORM), Role.ADMIN))
    return Known(customer.http, provider.http, admin, provider.agent, {name: str(value) for name, value in ids.items()})


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the generator's own making, none of ours
def test_whatever_is_sent_the_answer_is_one_that_the_description_names(
    postgres: EmbeddedPostgres, database_name: str, clock: FakeClock, tmp_path: Path
):
    """Generated requests, valid and not: never a server error, and no status or content type that is not declared."""
    failures: dict[str, str] = {}
    asked = Counter[int]()
    urls = postgres.database_urls(database_name)
    with asyncio.Runner() as runner:
        api = Api.build(connect(urls.app, urls.system, None, pool_size=4), clock, tmp_path)
        world = runner.run(known(api))
        schema = schemathesis.openapi.from_dict(api.litestar.openapi_schema.to_schema())
        for result in schema.get_all_operations():
            for mode in GenerationMode:
                _fire(runner, world, result.ok(), mode, failures, asked)
        runner.run(api.db.close())
    assert {200, 201, 204, 404, 422} <= asked.keys() and asked.total() > 200, asked
    assert not failures, "\n\n".join(f"{name}: {failure}" for name, failure in failures.items())


def _fire(
    runner: asyncio.Runner, world: Known, operation: Any, mode: GenerationMode, failures: dict[str, str], asked: Counter[int]
) -> None:
    """Send what the strategy makes of one operation; remember the first thing that went wrong."""

    @seed(20260320)
    @settings(max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def fire(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            case.path_parameters.update({name: world.ids[name] for name in case.path_parameters if name in world.ids})
        if case.query:
            case.query.pop("wait_s", None)  # a long poll would wait
        sent = requests.Request(**case.as_transport_kwargs(base_url="http://test")).prepare()
        headers = {name: value for name, value in sent.headers.items() if name.lower() != "authorization"}
        client = world.client_for(operation.path)
        answer = runner.run(client.request(sent.method, sent.url, headers=headers, content=sent.body))
        asked[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=[not_a_server_error, status_code_conformance, content_type_conformance])
        except* Failure as group:
            told = "; ".join(f"{one.title}: {one.message}" for one in group.exceptions)
            failures.setdefault(
                operation.label, f"{told}\n{case.as_curl_command()[:600]}\n{answer.status_code} {answer.text[:300]}"
            )

    with contextlib.suppress(Unsatisfiable, InvalidArgument):  # nothing about a call without parameters can be wrong
        fire()
