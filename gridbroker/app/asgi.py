"""The API: every context's routes on one Litestar application, behind one gate."""

from collections import Counter
from typing import Any

import sqlalchemy as sa
from litestar import Litestar, Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.types import ASGIApp
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

import gridbroker
from gridbroker.app import openapi, problems
from gridbroker.app.bootstrap import Ports, build_ports
from gridbroker.app.gate import Gate
from gridbroker.app.hints import DramatiqQueue
from gridbroker.app.json_body import JsonRequest
from gridbroker.app.metrics import NODES, WORKLOADS
from gridbroker.app.rate_limit import RateLimiter
from gridbroker.broker.routes import BROKER_ROUTES
from gridbroker.broker.service import submission
from gridbroker.broker.service.outlook_cache import OutlookCache
from gridbroker.core import log
from gridbroker.core.db import connect
from gridbroker.core.errors import Unavailable
from gridbroker.core.settings import load
from gridbroker.grid import routes as grid_routes
from gridbroker.grid.zone import ZONES
from gridbroker.identity import routes as identity_routes
from gridbroker.identity.guards import caller_of, public
from gridbroker.identity.role import Caller
from gridbroker.metering import routes as metering_routes
from gridbroker.pricing.rate_card import list_prices
from gridbroker.providers import routes as provider_routes
from gridbroker.providers import service as providers
from gridbroker.providers.backends.bell import OrdersBell
from gridbroker.providers.node import Health
from gridbroker.settlement import routes as settlement_routes


def create() -> ASGIApp:
    """The application as the server runs it: settings from the environment."""
    settings = load()
    log.configure(settings.log_level, json=settings.log_json)
    db = connect(settings.app_database_url, settings.system_database_url, settings.database_url)
    ports = build_ports(settings, db, DramatiqQueue(settings.redis_url))
    return gated(create_app(ports), ports)


def gated(app: ASGIApp, ports: Ports) -> ASGIApp:
    """The gate stands before routing, so that paths that do not exist pass it too."""
    return Gate(app, db=ports.db, clock=ports.clock, limiter=RateLimiter(ports.settings.rate_limit_per_minute))


def create_app(ports: Ports) -> Litestar:
    bell = OrdersBell()
    dsn = ports.settings.system_database_url or ports.settings.database_url

    async def start() -> None:
        if dsn is not None:
            await bell.start(dsn)

    async def stop() -> None:
        await bell.stop()
        await ports.db.close()

    app = Litestar(
        route_handlers=[health, ready, metrics, *_routes(), openapi.assets()],
        dependencies=_dependencies(ports, bell),
        exception_handlers={Exception: problems.handle},
        request_class=JsonRequest,
        on_startup=[start],
        on_shutdown=[stop],
        openapi_config=openapi.config(),
        request_max_body_size=ports.settings.max_body_bytes,
        logging_config=None,
    )
    openapi.complete(app)
    return app


@get("/health", guards=[public], tags=["service"])
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok", "version": gridbroker.__version__}


@get("/ready", guards=[public], tags=["service"])
async def ready(ports: NamedDependency[Ports]) -> dict[str, str]:
    """The database answers too, at the schema of this version or a later one."""
    try:
        async with ports.db.as_system() as tx:
            await tx.execute(sa.text("select 1 from workloads limit 1"))
    except (OSError, SQLAlchemyError) as error:
        raise Unavailable("The database is not reachable or not migrated.", headers={"Retry-After": "2"}) from error
    return {"status": "ready"}


@get("/metrics", guards=[public], tags=["service"], media_type="text/plain")
async def metrics(ports: NamedDependency[Ports]) -> Response[bytes]:
    """Prometheus metrics: counts only, nothing that belongs to one organisation."""
    async with ports.db.as_system() as tx:
        for state, count in (await submission.count_by_state(tx)).items():
            WORKLOADS.labels(state).set(count)
        healths = Counter(node.health for node in await providers.snapshot(tx))
    for health_state in Health:
        NODES.labels(health_state).set(healths[health_state])
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _routes() -> list[Any]:
    """Handlers of every context; each names who may call it."""
    modules = [identity_routes, grid_routes, provider_routes, metering_routes, settlement_routes]
    return [*(handler for module in modules for handler in module.ROUTES), *BROKER_ROUTES]


def _dependencies(ports: Ports, bell: OrdersBell) -> dict[str, Provide]:
    values: dict[str, Any] = {
        "ports": ports,
        "settings": ports.settings,
        "clock": ports.clock,
        "db": ports.db,
        "queue": ports.queue,
        "blobs": ports.blobs,
        "signer": ports.signer,
        "card_rail": ports.card_rail,
        "payout_rail": ports.payout_rail,
        "known_zones": frozenset(ZONES),
        "list_prices": list_prices(),
        "bell": bell,
        "outlooks": OutlookCache(ports.db, ports.clock),
    }
    provided = {name: Provide(_constant(value), sync_to_thread=False) for name, value in values.items()}
    return provided | {"caller": Provide(caller_of_request, sync_to_thread=False)}


def caller_of_request(request: Request[Any, Any, Any]) -> Caller:
    return caller_of(request)


def _constant(value: Any) -> Any:
    def provide() -> Any:
        return value

    return provide
