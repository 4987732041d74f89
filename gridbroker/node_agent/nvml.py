"""The one home of NVML. Any call may fail by itself (old driver, no permission, a GPU off the bus); none ends the agent."""

import contextlib
from collections.abc import Callable
from typing import Any

from gridbroker.node_agent.energy import NJ_PER_MJ, Reading
from gridbroker.node_agent.protocol import EnergyKind


class NoNvml(Exception):
    """No bindings, no driver, or no GPU."""


class NvmlEnergy:
    """Energy from the hardware counter; where there is none, or it was reset, measured power times time, marked `estimated`."""

    def __init__(self) -> None:
        try:
            import pynvml  # noqa: PLC0415 - optional: only machines with a GPU have it
        except ImportError as error:
            raise NoNvml("nvidia-ml-py is not installed") from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            raise NoNvml(f"NVML does not start: {error}") from error
        if not self._handles:
            raise NoNvml("NVML finds no GPU")
        counter = self._ask(pynvml.nvmlDeviceGetTotalEnergyConsumption, self._handles[0])
        self.kind = EnergyKind.ESTIMATED if counter is None else EnergyKind.MEASURED

    @property
    def gpu_count(self) -> int:
        return len(self._handles)

    def read(self, gpu_index: int, *, elapsed_us: int, load: float | None, previous_raw_mj: int | None) -> Reading | None:  # noqa: ARG002
        if gpu_index >= len(self._handles):
            return None
        handle = self._handles[gpu_index]
        raw_mj: int | None = self._ask(self._nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        power_mw: int | None = self._ask(self._nvml.nvmlDeviceGetPowerUsage, handle)
        if raw_mj is not None and (previous_raw_mj is None or raw_mj >= previous_raw_mj):
            energy_nj, kind = (raw_mj - (raw_mj if previous_raw_mj is None else previous_raw_mj)) * NJ_PER_MJ, EnergyKind.MEASURED
        elif power_mw is not None:
            energy_nj, kind = power_mw * elapsed_us, EnergyKind.ESTIMATED
        else:
            return None
        rates = self._ask(self._nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        mean_mw = energy_nj / elapsed_us if elapsed_us else 0.0
        return Reading(
            energy_nj=energy_nj,
            power_w=(mean_mw if power_mw is None else power_mw) / 1000,
            utilisation=0.0 if rates is None else rates.gpu / 100,
            kind=kind,
            raw_mj=raw_mj,
            temperature_c=self._temperature_c(handle),
            memory_used_mib=None if memory is None else int(memory.used) // 2**20,
        )

    def close(self) -> None:
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _temperature_c(self, handle: Any) -> float | None:
        # CUDA 14 removes the old call; older bindings lack the new one.
        for name in ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"):
            call = getattr(self._nvml, name, None)
            value = None if call is None else self._ask(call, handle, self._nvml.NVML_TEMPERATURE_GPU)
            if value is not None:
                return float(value)
        return None

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except self._nvml.NVMLError:
            return None
