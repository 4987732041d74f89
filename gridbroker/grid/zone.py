"""The grid zones that this version knows, keyed as Electricity Maps keys them."""

from collections.abc import Mapping
from dataclasses import dataclass

from gridbroker.core.errors import FieldError, Invalid


class UnknownZone(Invalid):
    code, title = "unknown_zone", "No such grid zone"


@dataclass(frozen=True, slots=True)
class Zone:
    key: str
    name: str
    country: str
    """ISO 3166-1, two letters."""
    time_zone: str
    """IANA name of the clock that the zone lives by."""
    latitude: float
    longitude: float
    """Degrees, of a point near the middle."""
    price_currency: str
    """ISO 4217, in which its wholesale market quotes. Signals hold prices in EUR whatever this is."""


def find(key: str, pointer: str = "/zone") -> Zone:
    """The zone of a key. Raises UnknownZone, naming the known ones; `pointer` says where the key stood."""
    zone = ZONES.get(key)
    if zone is None:
        raise UnknownZone(f"{key!r} is not a known zone.", errors=[FieldError(pointer, f"one of {', '.join(ZONES)}")])
    return zone


ZONES: Mapping[str, Zone] = {
    zone.key: zone
    for zone in (
        Zone("FR", "France", "FR", "Europe/Paris", 46.6, 2.4, "EUR"),
        Zone("DE", "Germany", "DE", "Europe/Berlin", 51.2, 10.4, "EUR"),
        Zone("ES", "Spain", "ES", "Europe/Madrid", 40.2, -3.6, "EUR"),
        Zone("PT", "Portugal", "PT", "Europe/Lisbon", 39.6, -8.0, "EUR"),
        Zone("NL", "Netherlands", "NL", "Europe/Amsterdam", 52.2, 5.3, "EUR"),
        Zone("BE", "Belgium", "BE", "Europe/Brussels", 50.6, 4.7, "EUR"),
        Zone("IT", "Italy", "IT", "Europe/Rome", 42.8, 12.6, "EUR"),
        Zone("GB", "Great Britain", "GB", "Europe/London", 53.9, -2.5, "GBP"),
        Zone("US-CAL-CISO", "California ISO", "US", "America/Los_Angeles", 37.2, -119.7, "USD"),
        Zone("US-NY-NYIS", "New York ISO", "US", "America/New_York", 42.9, -75.5, "USD"),
        Zone("US-TEX-ERCO", "Texas (ERCOT)", "US", "America/Chicago", 31.5, -99.3, "USD"),
    )
}
"""By key, in the order in which lists show them."""
