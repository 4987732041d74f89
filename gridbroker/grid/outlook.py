"""A zone's outlook, built from what was observed of it in the last two days."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from gridbroker.grid.forecast import PERIOD_H, Method, error_ratio, forecast
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
    history = _hourly(signals, from_hour)
    intensity = forecast(history, horizon_h, floor=0.0)
    if intensity is None:
        return None
    prices = _hourly(_of_newest_origin(histories.get(SignalKind.PRICE, ())), from_hour)
    shares = _hourly(_of_newest_origin(histories.get(SignalKind.RENEWABLE_SHARE, ())), from_hour)
    price, share = forecast(prices, horizon_h), forecast(shares, 0, floor=0.0)
    newest = signals[-1]
    repeats = newest.quality is Quality.MODELLED and intensity.method is Method.SEASONAL_NAIVE
    return Outlook(
        zone=zone,
        from_hour=from_hour,
        intensity_g_per_kwh=intensity.values,
        price_eur_per_mwh=price.values if price else (),
        renewable_share=min(1.0, share.values[0]) if share else None,
        observed_at=newest.at,
        source=newest.source,
        quality=Quality.ESTIMATED if intensity.estimated and newest.quality is Quality.MEASURED else newest.quality,
        method=Method.TYPICAL_DAY if repeats else intensity.method,
        error_ratio=0.0 if repeats else error_ratio(history),
    )


def _of_newest_origin(signals: Sequence[Signal]) -> Sequence[Signal]:
    if not signals or all(signal.source == signals[-1].source for signal in signals):
        return signals
    newest = origin(signals[-1].source)
    return [signal for signal in signals if origin(signal.source) == newest]


def _hourly(signals: Sequence[Signal], from_hour: datetime) -> list[float | None]:
    values: list[float | None] = [None] * HISTORY_H
    for signal in signals:
        values[HISTORY_H - 1 - (from_hour - signal.at) // HOUR] = signal.value
    return values
