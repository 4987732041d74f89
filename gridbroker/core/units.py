"""Integer units for whatever is summed, and the conversions between them.

Energy is counted in millijoules (as NVML counts), emissions in milligrams of CO2e, money in millionths of a currency unit.
Intensities and prices are floats where they rank and integers (`_mg_per_kwh`) where they bill.
"""

from datetime import datetime, timedelta

MILLIJOULES_PER_KWH = 3_600_000_000
MILLIJOULES_PER_WH = 3_600_000
MILLISECONDS_PER_HOUR = 3_600_000
MICRO = 1_000_000


def div_ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def div_half_even(numerator: int, denominator: int) -> int:
    """Nearest integer, ties to even; exact for any size of integer."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))


def energy_kwh(energy_mj: int) -> float:
    return energy_mj / MILLIJOULES_PER_KWH


def energy_mj(power_w: float, duration_s: float) -> int:
    """Energy of a constant power over a duration, rounded to the nearest millijoule."""
    return round(power_w * duration_s * 1000)


def emissions_mg(energy_mj: int, intensity_mg_per_kwh: int) -> int:
    """Emissions of an amount of energy at one intensity, rounded half to even."""
    return div_half_even(energy_mj * intensity_mg_per_kwh, MILLIJOULES_PER_KWH)


def duration_ms(start: datetime, end: datetime) -> int:
    """Whole milliseconds from start to end, rounded down; negative when end lies before start."""
    return (end - start) // timedelta(milliseconds=1)


def hour_floor(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
