"""A zone's outlook, built from what was observed of it in the last two days."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gridbroker.grid.forecast import PERIOD_H, Forecast, Method, forecast
from gridbroker.grid.knowledge import origin
from gridbroker.grid.signal import Outlook, Quality, Signal, SignalKind

HISTORY_H = 2 * PERIOD_H + 2
"""What the forecast rule needs, twice, so that its error can be measured."""
HOUR = timedelta(hours=1)


def outlook(zone: str, from_hour: datetime, histories: Mapping[SignalKind, Sequence[Signal]], horizon_h: int) -> Outlook | None:
    """The zone as planning sees it at `from_hour`, with `horizon_h` hours after the current one.

    Histories hold average signals at or before `from_hour`, oldest hour first and, within an hour, oldest knowledge first. Only
    those told by whoever told the newest one count: two methods are never mixed into one pattern. None without an intensity
    within the last day; a price that is unknown is an empty series, a renewable share that is unknown is None.
    """
    signals = _of_newest_origin(histories.get(SignalKind.CARBON_INTENSITY, ()))
    intensity = _forecast(signals, from_hour, horizon_h, floor=0.0)
    if intensity is None:
        return None
    newest = signals[-1]
    price = _forecast(_of_newest_origin(histories.get(SignalKind.PRICE, ())), from_hour, horizon_h)
    share = _forecast(_of_newest_origin(histories.get(SignalKind.RENEWABLE_SHARE, ())), from_hour, 0, floor=0.0)
    modelled = newest.quality is Quality.MODELLED and intensity.method is Method.SEASONAL_NAIVE
    return Outlook(
        zone=zone,
        from_hour=from_hour,
        intensity_g_per_kwh=intensity.values,
        price_eur_per_mwh=price.values if price else (),
        renewable_share=min(1.0, share.values[0]) if share else None,
        observed_at=newest.at,
        source=newest.source,
        quality=Quality.ESTIMATED if intensity.estimated and newest.quality is Quality.MEASURED else newest.quality,
        method=Method.TYPICAL_DAY if modelled else intensity.method,
        error_ratio=0.0 if modelled else intensity.error_ratio,
    )


def _of_newest_origin(signals: Sequence[Signal]) -> Sequence[Signal]:
    if not signals or all(signal.source == signals[-1].source for signal in signals):
        return signals
    newest = origin(signals[-1].source)
    return [signal for signal in signals if origin(signal.source) == newest]


def _forecast(signals: Sequence[Signal], from_hour: datetime, horizon_h: int, *, floor: float | None = None) -> Forecast | None:
    values: list[float | None] = [None] * HISTORY_H
    for signal in signals:
        values[HISTORY_H - 1 - (from_hour - signal.at) // HOUR] = signal.value
    return forecast(values, horizon_h, floor=floor)
