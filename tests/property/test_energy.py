"""Laws of the energy curve: parts sum to the whole, order and repetition do not matter, nothing is lost between subjects."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gridbroker.metering.conservation import Attributed, account
from gridbroker.metering.energy import by_hour, curve_of
from gridbroker.metering.sample import Reading
from gridbroker.node_agent.protocol import EnergyKind

EPOCH = datetime(2026, 3, 20, 11, 30, tzinfo=UTC)
SPAN_US = 3 * 3600 * 1_000_000

instants = st.integers(-SPAN_US // 4, SPAN_US).map(lambda us: EPOCH + timedelta(microseconds=us))
reaches = st.sampled_from([0.0, 0.5, 60.0])


@st.composite
def boots(draw: st.DrawFn, boot_id: str, begin_us: int) -> list[Reading]:
    steps = draw(st.lists(st.tuples(st.integers(0, 20 * 60_000_000), st.integers(0, 10**9)), min_size=1, max_size=6))
    readings: list[Reading] = []
    at_us, energy_mj = begin_us, draw(st.integers(0, 10**12))
    for seq, (wait_us, rise_mj) in enumerate(steps, start=1):
        at_us, energy_mj = at_us + wait_us, energy_mj + rise_mj
        readings.append(
            Reading(
                boot_id=boot_id,
                gpu_index=0,
                seq=seq,
                at=EPOCH + timedelta(microseconds=at_us),
                energy_mj=energy_mj,
                power_w=draw(st.floats(0, 1500)),
                utilisation=0.5,
                kind=draw(st.sampled_from(EnergyKind)),
            )
        )
    return readings


@st.composite
def histories(draw: st.DrawFn) -> list[Reading]:
    """One to three boots, which may overlap as after a clock that was set back."""
    return [
        reading
        for boot_id in "abc"[: draw(st.integers(1, 3))]
        for reading in draw(boots(boot_id, draw(st.integers(0, SPAN_US // 2))))
    ]


@given(histories(), st.lists(instants, min_size=2, max_size=8), reaches)
def test_parts_sum_to_the_whole(readings: list[Reading], cuts: list[datetime], reach_s: float):
    curve = curve_of(readings, max_extrapolation_s=reach_s)
    cuts.sort()
    parts = [curve.energy_mj(*span) for span in pairwise(cuts)]
    assert sum(parts) == curve.energy_mj(cuts[0], cuts[-1])
    assert min(parts) >= 0
    assert sum(part.energy_mj for part in by_hour(curve, cuts[0], cuts[-1])) == curve.energy_mj(cuts[0], cuts[-1])


@given(histories(), st.randoms(use_true_random=False), reaches)
def test_order_and_repetition_do_not_matter(readings: list[Reading], random: Random, reach_s: float):
    shuffled = readings + random.sample(readings, random.randint(0, len(readings)))
    random.shuffle(shuffled)
    assert curve_of(shuffled, max_extrapolation_s=reach_s) == curve_of(readings, max_extrapolation_s=reach_s)


@given(boots("a", 0))
def test_one_boot_measures_the_difference_of_its_counter(readings: list[Reading]):
    curve = curve_of(readings, max_extrapolation_s=0)
    counters = [reading.energy_mj for reading in readings if reading.at > readings[0].at]
    first = max(reading.energy_mj for reading in readings if reading.at == readings[0].at)
    assert curve.energy_mj(readings[0].at, readings[-1].at) == (counters[-1] - first if counters else 0)


@given(boots("a", 0), st.lists(st.tuples(instants, st.integers(0, 3)), min_size=1, max_size=6))
def test_subjects_and_idle_time_share_the_counter_exactly(readings: list[Reading], turns: list[tuple[datetime, int]]):
    """Subjects 1 to 3 hold the GPU in turn, 0 is nobody. Each is metered from a curve of only the readings around its own span."""
    cuts = sorted({at for at, _ in turns} | {EPOCH, EPOCH + timedelta(hours=4)})
    whole = curve_of(readings, max_extrapolation_s=60)
    spans: list[Attributed] = []
    for (start, end), (_, subject) in zip(pairwise(cuts), turns, strict=False):
        if subject:
            own = curve_of(_around(readings, start, end), max_extrapolation_s=60)
            spans.append(Attributed(UUID(int=subject), start, end, own.energy_mj(start, end)))
    result = account(whole, cuts[0], cuts[-1], spans)
    assert result.measured_mj == sum(result.attributed_mj.values()) + result.unallocated_mj


def _around(readings: list[Reading], start: datetime, end: datetime) -> list[Reading]:
    ordered = sorted(readings, key=lambda reading: (reading.at, reading.seq))
    before = [reading for reading in ordered if reading.at <= start][-1:]
    after = [reading for reading in reversed(ordered) if reading.at >= end and reading.at > start]
    after_instant = [reading for reading in ordered if after and reading.at == after[-1].at]
    inside = [reading for reading in ordered if start < reading.at < end]
    return before + inside + after_instant
