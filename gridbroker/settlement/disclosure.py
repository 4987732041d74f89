"""What a receipt must say in words about its own limits, so that a modelled or simulated figure never passes for a measured one."""

SIMULATED_TIME = "simulated_time"
MODELLED_GRID = "modelled_grid"
MODELLED_ENERGY = "modelled_energy"
ESTIMATED_ENERGY = "estimated_energy"
INCOMPLETE_BASELINE = "incomplete_baseline"

_TEXT = {
    MODELLED_GRID: "At least one carbon intensity is modelled from a typical day or forecast; it was not observed for that hour.",
    MODELLED_ENERGY: "At least part of the energy comes from a model of the GPU; nothing was measured there.",
    ESTIMATED_ENERGY: "At least part of the energy was integrated from power readings, not read from an energy counter.",
    INCOMPLETE_BASELINE: "A baseline lacked an intensity for some hour; a neighbouring hour stood in for it.",
}


def required(*, clock_factor: int, grid_quality: str, energy_kind: str, baselines_complete: bool) -> tuple[str, ...]:
    """Codes of the limits that must be stated."""
    stated = {
        SIMULATED_TIME: clock_factor != 1,
        MODELLED_GRID: grid_quality in ("modelled", "forecast"),
        MODELLED_ENERGY: energy_kind == "modelled",
        ESTIMATED_ENERGY: energy_kind == "estimated",
        INCOMPLETE_BASELINE: not baselines_complete,
    }
    return tuple(code for code, holds in stated.items() if holds)


def text(code: str, clock_factor: int) -> str:
    if code == SIMULATED_TIME:
        return (
            f"Time was simulated: one second of wall time counted as {clock_factor} seconds of grid time. "
            "Energy, emissions and cost are scaled by the same factor."
        )
    return _TEXT[code]
