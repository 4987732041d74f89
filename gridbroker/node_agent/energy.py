"""Where a GPU's energy figures come from: one Protocol, and the model for machines where nothing can be measured."""

from dataclasses import dataclass
from typing import Protocol

from gridbroker.node_agent.protocol import EnergyKind

NJ_PER_MJ = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one GPU did since its reading before."""

    energy_nj: int
    power_w: float
    utilisation: float
    kind: EnergyKind
    raw_mj: int | None = None
    """The hardware counter itself, to be handed in again as `previous_raw_mj`."""
    temperature_c: float | None = None
    memory_used_mib: int | None = None


class EnergySource(Protocol):
    @property
    def kind(self) -> EnergyKind:
        """The best that this source can do."""
        ...

    def read(self, gpu_index: int, *, elapsed_us: int, load: float | None, previous_raw_mj: int | None) -> Reading | None:
        """Energy over the last `elapsed_us` of grid time; None when the GPU does not answer, which is not zero.

        `load` is the load hint of the placement that held the GPU all that time, None when nothing did.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelledEnergy:
    """Power = idle + load x (max - idle) while a placement holds the GPU, idle otherwise. Whole numbers: nothing drifts."""

    idle_w: float
    max_w: float
    kind: EnergyKind = EnergyKind.MODELLED

    def read(self, gpu_index: int, *, elapsed_us: int, load: float | None, previous_raw_mj: int | None) -> Reading:  # noqa: ARG002
        share = min(1.0, max(0.0, load or 0.0))
        power_mw = round((self.idle_w + share * (self.max_w - self.idle_w)) * 1000)
        # Milliwatts times microseconds are nanojoules.
        return Reading(energy_nj=power_mw * elapsed_us, power_w=power_mw / 1000, utilisation=share, kind=self.kind)
