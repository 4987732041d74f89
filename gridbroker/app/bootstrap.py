"""The one place that builds adapters and hands them out, in one frozen `Ports`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gridbroker.app.hints import DramatiqQueue
from gridbroker.core.blobs import BlobStore, FolderBlobs
from gridbroker.core.clock import Clock
from gridbroker.core.db import Database, connect
from gridbroker.core.queue import Queue
from gridbroker.core.settings import BadSettings, Settings
from gridbroker.grid.sources.base import Source
from gridbroker.grid.sources.replay import ReplaySource
from gridbroker.grid.sources.typical import TypicalSource
from gridbroker.settlement.data_integrity import Signer
from gridbroker.settlement.rails.base import AnchorRail, CardRail, PayoutRail
from gridbroker.settlement.rails.fake import FakeAnchorRail, FakeCardRail, FakePayoutRail
from gridbroker.settlement.rails.signer_file import FileSigner


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    settings: Settings
    clock: Clock
    db: Database
    queue: Queue
    blobs: BlobStore
    grid_source: Source
    card_rail: CardRail
    payout_rail: PayoutRail
    anchor_rail: AnchorRail
    signer: Signer
    routing_lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@asynccontextmanager
async def open_ports(settings: Settings) -> AsyncIterator[Ports]:
    """Every adapter that the settings name; closed when the block ends."""
    db = connect(settings.app_database_url, settings.system_database_url, settings.database_url)
    queue = DramatiqQueue(settings.redis_url)
    try:
        yield build_ports(settings, db, queue)
    finally:
        queue.close()
        await db.close()


def build_ports(settings: Settings, db: Database, queue: Queue) -> Ports:
    if settings.rails != "fake":
        raise BadSettings(f"GRIDBROKER_RAILS: {settings.rails!r} is not known; this version has: fake")
    return Ports(
        settings=settings,
        clock=settings.clock(),
        db=db,
        queue=queue,
        blobs=FolderBlobs(settings.blob_dir),
        grid_source=grid_source(settings.grid_source),
        card_rail=FakeCardRail(),
        payout_rail=FakePayoutRail(),
        anchor_rail=FakeAnchorRail(),
        signer=FileSigner(settings.signing_key_path),
    )


def grid_source(name: str) -> Source:
    """`typical`, or `replay:PATH`. Raises BadSettings."""
    kind, _, path = name.partition(":")
    if kind == "typical" and not path:
        return TypicalSource()
    if kind == "replay" and path:
        return ReplaySource(Path(path))
    raise BadSettings(f"GRIDBROKER_GRID_SOURCE: {name!r} is neither `typical` nor `replay:FILE`")
