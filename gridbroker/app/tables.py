"""Every context's tables in one metadata, for migrations and their check. Importing this registers them."""

import gridbroker.broker.models
import gridbroker.grid.models
import gridbroker.identity.models
import gridbroker.metering.models
import gridbroker.pricing.models
import gridbroker.providers.models
import gridbroker.settlement.models  # noqa: F401  (imported for their tables)
from gridbroker.core.db import metadata

__all__ = ["metadata"]
