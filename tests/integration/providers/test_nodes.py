"""Tokens, registration, heartbeats, loss, draining."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from gridbroker.core.errors import Invalid, NotFound, Unauthenticated
from gridbroker.core.secret import SECRET_CHARS
from gridbroker.identity import service as identity
from gridbroker.identity.role import OrganisationKind, Role
from gridbroker.providers import service
from gridbroker.providers.gpu import UnknownGpuModel
from gridbroker.providers.health import CheckKind, ClockSkew
from gridbroker.providers.models import node_checks, node_tokens, node_versions, nodes
from gridbroker.providers.node import Health, Tier
from gridbroker.providers.registration import NotAProvider, UnknownZone
from gridbroker.providers.repository import KEPT_CHECKS
from gridbroker.providers.service import NodeBusy
from gridbroker.providers.token import NodeTokenExpired, NodeTokenUnknown, NodeTokenUsed


async def count(world, table) -> int:
    async with world.db.as_system() as tx:
        return await tx.scalar(sa.select(sa.func.count()).select_from(table))


async def health_of(world, node_id) -> Health:
    async with world.db.as_system() as tx:
        return (await service.get_node(tx, node_id)).health


async def test_a_token_admits_one_node_with_a_key_of_its_own(world):
    org_id = await world.organisation(kind=OrganisationKind.RECYCLER)
    token = await world.token(org_id)
    credentials = await world.register(token)

    assert len(token.rsplit("_", 1)[1]) == SECRET_CHARS, "344 random bits"
    assert (credentials.gpu_idle_w, credentials.gpu_max_w) == (70, 700)
    caller = await identity.authenticate(world.db, world.clock, credentials.key)
    assert (caller.role, caller.org_id, str(caller.node_id)) == (Role.NODE, org_id, credentials.node_id)
    async with world.db.as_system() as tx:
        facts = await service.get_node(tx, UUID(credentials.node_id))
    assert (facts.tier, facts.zone, facts.gpu_model, facts.free_gpus) == (Tier.RECYCLER, "FR", "H100-SXM5-80GB", (0, 1))
    assert (facts.health, facts.version, facts.price_micro_per_gpu_hour) == (Health.PENDING, 1, 2_400_000)


async def test_the_token_itself_is_not_stored(world):
    token = await world.token(await world.organisation())
    async with world.db.as_system() as tx:
        row = (await tx.execute(sa.select(node_tokens))).one()
    assert token.encode() not in row.token_hash
    assert len(row.token_hash) == 32


async def test_tokens_that_admit_nobody(world):
    org_id = await world.organisation()
    used, expired = await world.token(org_id), await world.token(org_id, ttl_s=60)
    await world.register(used)
    world.clock.advance(timedelta(seconds=60))
    with pytest.raises(NodeTokenUsed):
        await world.register(used, name="n2")
    with pytest.raises(NodeTokenExpired):
        await world.register(expired, name="n2")
    with pytest.raises(NodeTokenUnknown):
        await world.register("gridbroker_join_nonsense", name="n2")
    assert await count(world, nodes) == 1


async def test_of_two_registrations_with_one_token_exactly_one_wins(world):
    token = await world.token(await world.organisation())
    outcomes = await asyncio.gather(*(world.register(token, name=f"n{number}") for number in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NodeCredentials", *["NodeTokenUsed"] * 3]
    assert await count(world, nodes) == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"zone": "XX"}, UnknownZone),
        ({"gpu_model": "H10000"}, UnknownGpuModel),
        ({"gpu_count": 0}, Invalid),
        ({"sent_at": "2026-03-20T13:00:01Z"}, ClockSkew),
    ],
)
async def test_a_refused_registration_writes_nothing_and_leaves_the_token_good(world, changes, error):
    token = await world.token(await world.organisation())
    with pytest.raises(error):
        await world.register(token, **changes)
    assert await count(world, nodes) == 0
    await world.register(token)


async def test_only_providers_have_nodes(world):
    org_id = await world.organisation(kind=OrganisationKind.DEVELOPER)
    with pytest.raises(NotAProvider):
        await world.token(org_id)


async def test_the_same_name_is_the_same_node_with_a_new_key(world):
    org_id = await world.organisation()
    first = await world.register(await world.token(org_id))
    await world.heartbeat(UUID(first.node_id))
    second = await world.register(await world.token(org_id), price_eur_per_gpu_hour="1.00", zone="DE")

    assert second.node_id == first.node_id
    with pytest.raises(Unauthenticated):
        await identity.authenticate(world.db, world.clock, first.key)
    assert (await identity.authenticate(world.db, world.clock, second.key)).node_id == UUID(first.node_id)
    async with world.db.as_system() as tx:
        facts = await service.get_node(tx, UUID(first.node_id))
    assert (facts.zone, facts.price_micro_per_gpu_hour, facts.health) == ("DE", 1_000_000, Health.PENDING)
    assert facts.version == await count(world, node_versions) == 3


async def test_two_organisations_may_use_one_name(world):
    first, second = await world.organisation("A"), await world.organisation("B")
    assert await world.node(first) != await world.node(second)


async def test_hardware_changes_only_while_nothing_is_leased(world):
    org_id = await world.organisation()
    node_id = await world.node(org_id)
    placement_id = await world.lease(node_id, org_id, 1)
    with pytest.raises(NodeBusy):
        await world.node(org_id, gpu_count=1)
    assert await world.node(org_id, price_eur_per_gpu_hour="3.00") == node_id, "a price may change at any time"
    async with world.db.as_system() as tx:
        await service.close_leases(tx, placement_id, world.clock.now())
    assert await world.node(org_id, gpu_count=1) == node_id


async def test_a_heartbeat_brings_a_node_into_service_and_is_no_version_itself(world):
    node_id = await world.node(await world.organisation())
    await world.heartbeat(node_id)
    await world.heartbeat(node_id, spool_backlog=7)
    async with world.db.as_system() as tx:
        status = await service.get_status(tx, node_id)
        checks = await service.list_checks(tx, node_id)
    assert (status.facts.health, status.facts.version) == (Health.HEALTHY, 2)
    assert (status.spool_backlog, status.last_seen_at) == (7, world.clock.wall())
    assert status.utilisation == pytest.approx(0.5)
    assert {check.kind: check.ok for check in checks} == dict.fromkeys(CheckKind, True)
    assert len(checks) == len(CheckKind), "an unchanged outcome is no news"


async def test_a_wrong_clock_is_refused_and_nothing_written(world):
    node_id = await world.node(await world.organisation())
    for hours in (-1, 1):
        sent_at = (world.clock.wall() + timedelta(hours=hours)).isoformat()
        with pytest.raises(ClockSkew, match="3600 s"):
            await world.heartbeat(node_id, sent_at=sent_at)
    assert await health_of(world, node_id) is Health.PENDING
    assert await count(world, node_checks) == 0


async def test_impossible_readings_are_refused_and_nothing_written(world):
    node_id = await world.node(await world.organisation())
    with pytest.raises(Invalid):
        await world.heartbeat(node_id, spool_backlog=-1)
    assert await health_of(world, node_id) is Health.PENDING


async def test_an_unknown_node_has_no_heartbeat(world):
    with pytest.raises(NotFound):
        await world.heartbeat(world.clock.new_id())


async def test_silence_loses_a_node_once_and_a_heartbeat_finds_it_again(world):
    org_id = await world.organisation()
    silent, alive = await world.node(org_id), await world.node(org_id, name="n2")
    never_seen = await world.node(org_id, name="n3")
    await world.heartbeat(silent)
    world.clock.advance(timedelta(seconds=80))
    await world.heartbeat(alive)
    world.clock.advance(timedelta(seconds=11))
    async with world.db.as_system() as tx:
        assert await service.mark_lost(tx, world.clock, 90) == [silent]
        assert await service.mark_lost(tx, world.clock, 90) == []
        assert await service.count_by_health(tx) == {"lost": 1, "healthy": 1, "pending": 1}
        assert "silent for 91 s" in (await service.list_checks(tx, silent))[0].detail
    assert await health_of(world, never_seen) is Health.PENDING

    await world.heartbeat(silent)
    assert await health_of(world, silent) is Health.HEALTHY
    async with world.db.as_system() as tx:
        newest = (await service.list_checks(tx, silent))[0]
    assert (newest.kind, newest.ok) == (CheckKind.HEARTBEAT, True)


async def test_draining_outlives_heartbeats_and_loss(world):
    node_id = await world.node(await world.organisation())
    await world.heartbeat(node_id)

    async def drain(draining: bool) -> Health:
        async with world.db.as_system() as tx:
            status = await service.set_draining(tx, world.clock, node_id, draining=draining, lost_after_s=90)
        return status.facts.health

    assert await drain(True) is Health.DRAINING
    assert await drain(True) is Health.DRAINING
    await world.heartbeat(node_id)
    assert await health_of(world, node_id) is Health.DRAINING
    world.clock.advance(timedelta(seconds=91))
    async with world.db.as_system() as tx:
        await service.mark_lost(tx, world.clock, 90)
    await world.heartbeat(node_id)
    assert await health_of(world, node_id) is Health.DRAINING
    assert await drain(False) is Health.HEALTHY
    assert await count(world, node_versions) == 6


async def test_only_the_newest_checks_are_kept(world):
    node_id = await world.node(await world.organisation())
    for number in range(KEPT_CHECKS + 5):
        await world.heartbeat(node_id, spool_backlog=5000 * (number % 2))
    async with world.db.as_system() as tx:
        checks = await service.list_checks(tx, node_id)
    assert len(checks) == await count(world, node_checks) == KEPT_CHECKS
    assert {check.kind for check in checks} == {CheckKind.SPOOL}
    assert (checks[0].ok, checks[1].ok) == (True, False)
