"""The whole API on a fresh database."""

from pathlib import Path

import pytest

from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from tests.integration.api.support import Api


@pytest.fixture
def api(database: Database, clock: FakeClock, tmp_path: Path) -> Api:
    return Api.build(database, clock, tmp_path)
