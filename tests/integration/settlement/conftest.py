"""A small settled world for the tests of settlement."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from gridbroker.core.db import Database
from gridbroker.settlement import ledger, repository, service
from gridbroker.settlement.rails.signer_file import FileSigner

ISSUER = "http://127.0.0.1:8000"


@pytest.fixture
def signer(tmp_path: Path) -> FileSigner:
    return FileSigner(tmp_path / "keys" / "receipts.ed25519")


@pytest.fixture
def fund(database: Database) -> Callable[[UUID, int], Awaitable[None]]:
    """Put money into a wallet as a paid top-up would."""

    async def give(org_id: UUID, amount_micro: int) -> None:
        async with database.as_system() as tx:
            await service.ensure_wallet(tx, org_id)
            await repository.post(tx, ledger.top_up(uuid4(), org_id, amount_micro))

    return give
