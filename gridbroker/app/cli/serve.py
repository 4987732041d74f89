"""`gridbroker api | worker | scheduler`: the server's processes, one by one, for hosts of their own."""

import asyncio

from gridbroker.core import log
from gridbroker.core.settings import Settings, load


def api() -> None:
    """Serve the API until stopped."""
    from granian import Granian  # noqa: PLC0415  (only this process needs it)
    from granian.constants import Interfaces, Loops  # noqa: PLC0415

    settings = _settings()
    Granian(
        "gridbroker.app.asgi:create",
        factory=True,
        interface=Interfaces.ASGI,
        address=settings.api_host,
        port=settings.api_port,
        workers=settings.api_workers,
        loop=Loops.uvloop,
        websockets=False,
        log_access=False,
        log_level="warning",  # type: ignore[arg-type]
        backpressure=512,
        respawn_failed_workers=True,
    ).serve()


def worker() -> None:
    """Advance rows as hints come in."""
    from gridbroker.app import worker as process  # noqa: PLC0415

    asyncio.run(process.run(_settings()))


def scheduler() -> None:
    """Sweep for due rows; of several, one leads."""
    from gridbroker.app import scheduler as process  # noqa: PLC0415

    asyncio.run(process.run(_settings()))


def _settings() -> Settings:
    settings = load()
    log.configure(settings.log_level, json=settings.log_json)
    return settings
