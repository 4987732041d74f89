"""The grid over HTTP: what people see, who may ask, and what bad questions get."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar import Litestar, Request
from litestar.di import Provide

from gridbroker.app import problems
from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.grid import service
from gridbroker.grid.routes import ROUTES
from gridbroker.grid.signal import Quality, Signal, SignalKind
from gridbroker.grid.sources.typical import TypicalSource
from gridbroker.grid.zone import ZONES
from gridbroker.identity.guards import caller_of
from gridbroker.identity.role import PEOPLE, Caller, Role, Scope

SIGNALS = "/api/v1/grid/signals"
Client = Callable[..., httpx.AsyncClient]


def caller(request: Request[Any, Any, Any]) -> Caller:
    return caller_of(request)


@pytest.fixture
async def client(database: Database, clock: FakeClock) -> AsyncIterator[Client]:
    """Clients of the routes, each signed in with a role."""
    opened: list[httpx.AsyncClient] = []

    def open_client(role: Role | None = Role.DEVELOPER, *scopes: Scope) -> httpx.AsyncClient:
        user = Caller(UUID(int=1), UUID(int=2), role, frozenset(scopes or Scope)) if role else None

        def sign_in(app: Any) -> Any:
            async def signed_in(scope: Any, receive: Any, send: Any) -> None:
                scope["user"] = user
                await app(scope, receive, send)

            return signed_in

        app = Litestar(
            route_handlers=ROUTES,
            dependencies={
                "db": Provide(lambda: database, sync_to_thread=False),
                "clock": Provide(lambda: clock, sync_to_thread=False),
                "caller": Provide(caller, sync_to_thread=False),
            },
            middleware=[sign_in],
            exception_handlers={Exception: problems.handle},
            openapi_config=None,
            logging_config=None,
        )
        opened.append(httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test"))
        return opened[-1]

    yield open_client
    for one in opened:
        await one.aclose()


async def test_zones_show_what_is_known_now_with_its_provenance(database, clock, client):
    await service.refresh_from(database, clock, TypicalSource())
    clock.advance(timedelta(minutes=10))
    answer = await client().get("/api/v1/grid/zones")
    assert answer.status_code == 200
    zones = {zone["key"]: zone for zone in answer.json()["data"]}
    assert list(zones) == list(ZONES) and answer.json()["next_cursor"] is None
    assert (zones["GB"]["time_zone"], zones["GB"]["price_currency"]) == ("Europe/London", "GBP")
    assert zones["ES"]["carbon_intensity"] == {
        "at": "2026-03-20T12:00:00Z",
        "value": 62.0,
        "source": "typical",
        "quality": "modelled",
        "averaging": "average",
        "scope": "lifecycle",
        "unit": "gCO2e/kWh",
        "age_s": 600,
    }
    assert (zones["ES"]["price"]["value"], zones["ES"]["price"]["unit"]) == (2.0, "EUR/MWh")
    assert zones["ES"]["surplus"] == ["low_carbon", "low_price"] and zones["DE"]["surplus"] == []


async def test_zones_of_which_nothing_is_known_are_still_listed(client):
    zones = (await client().get("/api/v1/grid/zones")).json()["data"]
    assert len(zones) == 11
    assert all(zone["carbon_intensity"] is zone["price"] is zone["renewable_share"] is None for zone in zones)


async def test_an_old_hour_shows_its_age_and_is_no_evidence(database, clock, client):
    await service.refresh_from(database, clock, TypicalSource())
    clock.advance(timedelta(hours=2))
    spain = next(zone for zone in (await client().get("/api/v1/grid/zones")).json()["data"] if zone["key"] == "ES")
    assert spain["carbon_intensity"]["age_s"] == 7200 and spain["surplus"] == []


async def test_signals_of_the_last_day_and_of_a_stretch(database, clock, client):
    await service.refresh_from(database, clock, TypicalSource())
    clock.advance(timedelta(minutes=1))
    last_day = (await client().get(SIGNALS, params={"zone": "ES", "kind": "price"})).json()
    assert (last_day["zone"], last_day["kind"], last_day["unit"]) == ("ES", "price", "EUR/MWh")
    assert [one["at"] for one in last_day["data"]][::23] == ["2026-03-19T13:00:00Z", "2026-03-20T12:00:00Z"]
    stretch = {"zone": "ES", "kind": "price", "from": "2026-03-20T10:00:00+01:00", "to": "2026-03-20T11:00:00Z"}
    found = (await client().get(SIGNALS, params=stretch)).json()["data"]
    assert [one["at"] for one in found] == ["2026-03-20T09:00:00Z", "2026-03-20T10:00:00Z"]


async def test_a_revised_hour_is_shown_once(database, clock, client):
    signal = Signal(zone="ES", kind=SignalKind.PRICE, at=clock.now(), value=1.0, source="s", quality=Quality.ESTIMATED)
    for value in (1.0, -2.5):
        async with database.as_system() as tx:
            await service.refresh(tx, [replace(signal, value=value)], clock.now())
        clock.advance(timedelta(minutes=1))
    found = (await client().get(SIGNALS, params={"zone": "ES", "kind": "price"})).json()["data"]
    assert [one["value"] for one in found] == [-2.5]


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"zone": "XX"}, "/zone"),
        ({"kind": "coal"}, "/kind"),
        ({"from": "yesterday"}, "/from"),
        ({"from": ""}, "/from"),
        ({"from": "2026-03-20T00:00:00"}, "/from"),
        ({"to": "2026-03-20T00:00:00"}, "/to"),
        ({"from": "2026-03-20T00:00:00Z", "to": "2026-03-20T00:00:00Z"}, "/to"),
        ({"from": "2026-03-21T00:00:00Z"}, "/to"),
        ({"from": "2026-02-16T11:59:59Z", "to": "2026-03-19T12:00:00Z"}, "/from"),
        ({"to": "0001-01-01T00:00:00Z"}, "/to"),
        ({"from": "0001-01-01T00:00:00+12:00"}, "/from"),
        ({"to": "9999-12-31T23:59:59-12:00"}, "/to"),
    ],
)
async def test_bad_questions_are_told_where(client, params, pointer):
    asked = {"zone": "ES", "kind": "price"} | params
    answer = await client().get(SIGNALS, params=asked)
    body = answer.json()
    assert answer.status_code == 422, body
    assert [error["pointer"] for error in body["errors"]] == [pointer], body


@pytest.mark.parametrize("missing", ["zone", "kind"])
async def test_a_question_without_its_subject_is_told_what_is_missing(client, missing):
    asked = {"zone": "ES", "kind": "price"}
    del asked[missing]
    answer = await client().get(SIGNALS, params=asked)
    assert answer.status_code == 422 and f"/{missing}: is required" in answer.json()["detail"]


async def test_thirty_one_days_are_the_most(client):
    asked = {"zone": "ES", "kind": "price", "from": "2026-02-16T12:00:00Z", "to": "2026-03-19T12:00:00Z"}
    assert (await client().get(SIGNALS, params=asked)).status_code == 200


@pytest.mark.parametrize("role", sorted(PEOPLE))
@pytest.mark.parametrize("path", ["/api/v1/grid/zones", f"{SIGNALS}?zone=ES&kind=price"])
async def test_every_person_may_look(client, role, path):
    assert (await client(role, Scope.READ).get(path)).status_code == 200


@pytest.mark.parametrize(("role", "scopes", "status"), [(Role.NODE, (), 403), (None, (), 401), (Role.ADMIN, (Scope.WRITE,), 403)])
@pytest.mark.parametrize("path", ["/api/v1/grid/zones", f"{SIGNALS}?zone=ES&kind=price"])
async def test_nodes_strangers_and_write_only_keys_may_not(client, role, scopes, status, path):
    assert (await client(role, *scopes).get(path)).status_code == status
