"""The agent's two times: grid time, which every `at` on the wire speaks of, and wall time, which drives its machinery.

They differ only under a simulated clock; then grid time reads `grid_epoch` at `wall_epoch` and runs `factor` times as fast.
"""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class GridClock:
    factor: int = 1
    wall_epoch: datetime | None = None
    grid_epoch: datetime | None = None

    @property
    def is_simulated(self) -> bool:
        return self.factor != 1 or self.grid_epoch is not None

    def wall(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - the agent's one clock

    def now(self) -> datetime:
        return self.grid_at(self.wall())

    def grid_at(self, wall: datetime) -> datetime:
        """Grid time at a moment of wall time."""
        if self.wall_epoch is None or self.grid_epoch is None:
            return wall
        return self.grid_epoch + (wall - self.wall_epoch) * self.factor


def rfc3339(at: datetime) -> str:
    """UTC with microseconds and `Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    return datetime.fromisoformat(text)
