from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from gridbroker.grid.forecast import DEFAULT_ERROR_RATIO, Method
from gridbroker.grid.outlook import HISTORY_H, HOUR, outlook
from gridbroker.grid.signal import Quality, Signal, SignalKind

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)


def history(
    kind: SignalKind = SignalKind.CARBON_INTENSITY,
    hours: int = HISTORY_H,
    value: Callable[[datetime], float] = lambda at: 100.0 + at.hour,
    source: str = "replay:t.csv|s",
    quality: Quality = Quality.MEASURED,
) -> list[Signal]:
    return [
        Signal(zone="ES", kind=kind, at=NOON - age * HOUR, value=value(NOON - age * HOUR), source=source, quality=quality)
        for age in reversed(range(hours))
    ]


def test_an_outlook_of_everything():
    found = outlook(
        "ES",
        NOON,
        {
            SignalKind.CARBON_INTENSITY: history(),
            SignalKind.PRICE: history(SignalKind.PRICE, value=lambda at: -1.0 * at.hour),
            SignalKind.RENEWABLE_SHARE: history(SignalKind.RENEWABLE_SHARE, value=lambda _: 0.8),
        },
        48,
    )
    assert found is not None
    assert found.intensity_g_per_kwh[:3] == (112.0, 113.0, 114.0) and len(found.intensity_g_per_kwh) == 49
    assert found.price_eur_per_mwh[:3] == (-12.0, -13.0, -14.0) and len(found.price_eur_per_mwh) == 49
    assert (found.renewable_share, found.observed_at, found.from_hour) == (0.8, NOON, NOON)
    assert (found.source, found.quality, found.method) == ("replay:t.csv|s", Quality.MEASURED, Method.SEASONAL_NAIVE)
    assert found.error_ratio > 0


def test_a_zone_without_intensity_has_no_outlook():
    assert outlook("ES", NOON, {SignalKind.PRICE: history(SignalKind.PRICE)}, 48) is None
    stale = [signal for signal in history() if signal.at < NOON - 24 * HOUR]
    assert outlook("ES", NOON, {SignalKind.CARBON_INTENSITY: stale}, 48) is None


def test_what_is_unknown_is_absent():
    found = outlook("ES", NOON, {SignalKind.CARBON_INTENSITY: history()}, 48)
    assert found is not None and found.price_eur_per_mwh == () and found.renewable_share is None


def test_a_late_source_makes_an_estimate():
    found = outlook("ES", NOON, {SignalKind.CARBON_INTENSITY: history()[:-2]}, 4)
    assert found is not None
    assert found.observed_at == NOON - 2 * HOUR and found.quality is Quality.ESTIMATED
    assert found.intensity_g_per_kwh[0] == 112.0


def test_a_model_that_repeats_is_exact_and_stays_labelled():
    modelled = history(source="typical", quality=Quality.MODELLED)
    found = outlook("ES", NOON, {SignalKind.CARBON_INTENSITY: modelled}, 4)
    assert found is not None
    assert (found.quality, found.method, found.error_ratio) == (Quality.MODELLED, Method.TYPICAL_DAY, 0.0)
    late = outlook("ES", NOON, {SignalKind.CARBON_INTENSITY: modelled[:-1]}, 4)
    assert late is not None and late.quality is Quality.MODELLED
    young = outlook("ES", NOON, {SignalKind.CARBON_INTENSITY: modelled[-5:]}, 4)
    assert young is not None and young.method is Method.PERSISTENCE and young.error_ratio == DEFAULT_ERROR_RATIO


def test_the_newest_knowledge_of_an_hour_counts():
    signals = history()
    found = outlook("ES", NOON, {SignalKind.CARBON_INTENSITY: [*signals, replace(signals[-1], value=7.0)]}, 0)
    assert found is not None and found.intensity_g_per_kwh == (7.0,)


def test_origins_are_not_mixed_but_parts_of_one_are():
    older = history(source="typical", quality=Quality.MODELLED, value=lambda _: 900.0)
    newer = [replace(signal, source=f"replay:t.csv|{index % 2}") for index, signal in enumerate(history(hours=30))]
    mixed = sorted([*older, *newer], key=lambda signal: signal.at)
    found = outlook("ES", NOON, {SignalKind.CARBON_INTENSITY: mixed}, 30)
    assert found is not None and found.quality is Quality.MEASURED
    assert max(found.intensity_g_per_kwh) == 123.0
