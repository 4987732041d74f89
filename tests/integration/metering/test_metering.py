from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.metering import repository
from gridbroker.metering.sample import BadSamples
from gridbroker.metering.service import MeterRequest, energy_to_date, gpu_account, ingest, meter
from gridbroker.node_agent.protocol import EnergyKind, Sample, SampleAck, SampleBatch

PROVIDER, CUSTOMER, NODE = uuid4(), uuid4(), uuid4()
STEP = timedelta(minutes=10)
STEP_MJ = 100 * 600 * 1000
"""100 W over one step."""


def batch(start: datetime, count: int, *, boot: str = "boot-1", gpus: int = 2, first: int = 0) -> SampleBatch:
    """A reading every ten minutes; GPU 1 draws twice what GPU 0 does."""
    return SampleBatch(
        boot_id=boot,
        samples=tuple(
            Sample(
                seq=number + 1,
                gpu_index=gpu,
                at=(start + number * STEP).isoformat(),
                energy_mj=number * STEP_MJ * (gpu + 1),
                power_w=100.0 * (gpu + 1),
                utilisation=0.9,
                kind=EnergyKind.MEASURED,
            )
            for number in range(first, first + count)
            for gpu in range(gpus)
        ),
    )


async def put(database: Database, samples: SampleBatch, now: datetime, *, org_id: UUID = PROVIDER) -> SampleAck:
    async with database.as_org(org_id) as tx:
        return await ingest(tx, samples, org_id=org_id, node_id=NODE, gpu_count=2, now=now)


def request(subject_id: UUID, start: datetime, end: datetime, gpus: tuple[int, ...] = (0, 1)) -> MeterRequest:
    return MeterRequest(
        subject_id=subject_id,
        org_id=CUSTOMER,
        provider_org_id=PROVIDER,
        node_id=NODE,
        zone="FR",
        gpu_indices=gpus,
        start=start,
        end=end,
    )


async def test_samples_sent_twice_and_out_of_order_count_once(database: Database, clock: FakeClock):
    start = clock.now() - timedelta(hours=1)
    whole = batch(start, 6)
    assert await put(database, SampleBatch(boot_id=whole.boot_id, samples=whole.samples[6:]), clock.now()) == SampleAck(
        accepted=6, duplicates=0
    )
    backwards = SampleBatch(boot_id=whole.boot_id, samples=whole.samples[::-1])
    assert await put(database, backwards, clock.now()) == SampleAck(accepted=6, duplicates=6)
    assert await put(database, whole, clock.now()) == SampleAck(accepted=0, duplicates=12)


async def test_a_key_twice_within_one_batch_counts_once(database: Database, clock: FakeClock):
    samples = batch(clock.now(), 1).samples
    assert await put(database, SampleBatch(boot_id="b", samples=samples + samples), clock.now()) == SampleAck(
        accepted=2, duplicates=2
    )
    assert await put(database, SampleBatch(boot_id="b", samples=()), clock.now()) == SampleAck(accepted=0, duplicates=0)


async def test_one_wrong_sample_refuses_the_batch(database: Database, clock: FakeClock):
    with pytest.raises(BadSamples):
        await put(database, batch(clock.now(), 7), clock.now())  # the last one lies an hour ahead
    assert await put(database, batch(clock.now(), 1), clock.now()) == SampleAck(accepted=2, duplicates=0)


async def test_energy_is_metered_by_gpu_and_hour_and_again_without_change(database: Database, clock: FakeClock):
    noon = clock.now()
    await put(database, batch(noon - timedelta(hours=2), 13), noon)
    subject, start, end = uuid4(), noon - timedelta(minutes=95), noon - timedelta(minutes=5)
    for _ in range(2):
        async with database.as_system() as tx:
            assert await meter(tx, request(subject, start, end)) == 3 * 9 * STEP_MJ
            events = await repository.events_of(tx, [subject])
            assert await energy_to_date(tx, NODE, [0, 1], start, end) == (3 * 9 * STEP_MJ, "measured")
    hour = noon - timedelta(hours=1)
    assert [(event.gpu_index, event.from_at, event.to_at, event.energy_mj) for event in events] == [
        (0, start, hour, 35 * STEP_MJ // 10),
        (1, start, hour, 70 * STEP_MJ // 10),
        (0, hour, end, 55 * STEP_MJ // 10),
        (1, hour, end, 110 * STEP_MJ // 10),
    ]


async def test_the_few_readings_fetched_give_what_all_would(database: Database, clock: FakeClock):
    noon = clock.now()
    await put(database, batch(noon - timedelta(hours=8), 25), noon)
    await put(database, batch(noon - timedelta(hours=3), 15, boot="boot-2"), noon)
    async with database.as_system() as tx:
        found = await repository.find_readings(tx, NODE, [0], noon - timedelta(hours=7, minutes=5), noon - timedelta(minutes=55))
        energy_mj, kind = await energy_to_date(tx, NODE, [0], noon - timedelta(hours=8), noon - timedelta(minutes=40))
    # Boot 1 reads 24 steps until 8:00, boot 2 begins at 9:00: an hour of 100 W between them, then 14 steps.
    assert (energy_mj, kind) == (24 * STEP_MJ + 6 * STEP_MJ + 14 * STEP_MJ, "estimated")
    assert len(found) < 20


async def test_a_later_end_extends_and_an_earlier_end_trims(database: Database, clock: FakeClock):
    noon = clock.now()
    await put(database, batch(noon - timedelta(hours=2), 13), noon)
    subject, start = uuid4(), noon - timedelta(hours=2)
    for minutes, steps in ((30, 3), (110, 11), (40, 4)):
        async with database.as_system() as tx:
            assert await meter(tx, request(subject, start, start + timedelta(minutes=minutes), (0,))) == steps * STEP_MJ


async def test_late_samples_are_followed_until_the_events_are_closed(database: Database, clock: FakeClock):
    noon = clock.now()
    subject, start = uuid4(), noon - timedelta(hours=1)
    await put(database, batch(start, 3), noon)
    async with database.as_system() as tx:
        early_mj = await meter(tx, request(subject, start, noon))
    await put(database, batch(start, 4, first=3), noon)
    async with database.as_system() as tx:
        full_mj = await meter(tx, request(subject, start, noon))
        await repository.close_events(tx, [subject])
    assert early_mj < full_mj == 3 * 6 * STEP_MJ
    async with database.as_system() as tx:
        assert await meter(tx, request(subject, start, noon - timedelta(minutes=30))) == full_mj


async def test_a_gpu_s_energy_is_attributed_or_unallocated_to_the_millijoule(database: Database, clock: FakeClock):
    noon = clock.now()
    start = noon - timedelta(hours=2)
    await put(database, batch(start, 13), noon)
    first, second = uuid4(), uuid4()
    spans = {first: (7, 41), second: (41, 93)}
    async with database.as_system() as tx:
        for subject, (begin, end) in spans.items():
            await meter(
                tx,
                request(subject, start + timedelta(minutes=begin, microseconds=1), start + timedelta(minutes=end, microseconds=1)),
            )
        account = await gpu_account(tx, NODE, 1, start, noon)
    assert account.measured_mj == 2 * 12 * STEP_MJ
    assert account.difference_mj == 0
    assert set(account.attributed_mj) == {first, second}
    assert account.unallocated_mj > 0


async def test_samples_and_events_show_only_to_their_organisations(database: Database, clock: FakeClock):
    noon, subject = clock.now(), uuid4()
    start = noon - timedelta(hours=1)
    await put(database, batch(start, 7), noon)
    async with database.as_system() as tx:
        await meter(tx, request(subject, start, noon))
    seen: dict[UUID, tuple[int, int]] = {}
    for org_id in (PROVIDER, CUSTOMER, uuid4()):
        async with database.as_org(org_id) as tx:
            readings = await repository.find_readings(tx, NODE, [0, 1], start, noon)
            seen[org_id] = (len(readings), len(await repository.events_of(tx, [subject])))
    provider, customer, stranger = seen.values()
    assert provider[0] > 0 and provider[1] == 2
    assert customer == (0, 2)
    assert stranger == (0, 0)
