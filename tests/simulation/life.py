"""A market over the real database and services that lives through a day and a half: weather, arrivals, faults, and one seed.

The seed decides every die that is thrown here. The order in which racing workers win is the database's, so a seed gives the same
history only as far as that does not matter; the laws must hold either way.
"""

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Self
from uuid import UUID

import httpx

from gridbroker.app import actions
from gridbroker.core.clock import FakeClock
from gridbroker.core.db import Database
from gridbroker.core.queue import RecordingQueue
from tests.flow.support.faults import Crash, MortalDatabase, Racing
from tests.flow.support.world import ENDED, SWEEPS, WORK_TABLES, Carry, Market, World
from tests.simulation.network import UnreliableNetwork
from tests.simulation.site import STEPS_PER_HOUR, Script, Site
from tests.simulation.weather import Weather

NODES = (("es1", "ES", 2), ("es2", "ES", 1), ("gb1", "GB", 2), ("gb2", "GB", 1), ("fr1", "FR", 1), ("de1", "DE", 2))
ZONES = ("ES", "GB", "FR", "DE")
TICK = timedelta(minutes=45)
BUSY_TICKS = 30
"""How long workloads arrive and faults happen; then all is given time to end."""
PATIENT_TICKS = 8
"""After which owners call off what nobody would ever run."""
MAX_TICKS = 80
ARRIVALS = 26
LONG = 0.3
"""Share of the workloads that run into the evening and the night, so that moving them may pay."""
FUNDS = "5000.00"
LIST_PRICE = 2.4

LOST_HINTS = 0.25
RACES = 0.25
CRASHES = 0.25
DIES, VANISHES, RETURNS = 0.02, 0.02, 0.45
CHANGES_ITS_MIND = 0.06


class ForgetfulQueue(RecordingQueue):
    """Some hints never arrive."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def hint(self, name: str, row_id: UUID) -> None:
        if self._random.random() >= LOST_HINTS:
            super().hint(name, row_id)


class Crashing:
    """A worker that dies somewhere in its work, before or after a commit; its claims are left standing."""

    def __init__(self, world: World, random: Random, happened: Counter[str]) -> None:
        self._world, self._random, self._happened = world, random, happened

    async def __call__(self, action: actions.Action, ids: list[UUID] | None) -> None:
        database: Any = MortalDatabase(self._world.ports.db, self._random.randint(1, 12), after_commit=self._random.random() < 0.3)
        try:
            await action(self._world.other_ports(db=database), ids)
        except Crash:
            self._happened["crashed"] += 1


class Life:
    def __init__(self, seed: int, market: Market, clock: FakeClock, random: Random, weather: Weather) -> None:
        self.seed, self.market, self.clock, self.random, self.weather = seed, market, clock, random, weather
        self.world = market.world
        self.happened: Counter[str] = Counter()
        self.sites: list[Site] = []
        self.tick_number = 0
        self.scripts: dict[str, Script] = {}
        self.told_late: set[UUID] = set()
        """Placements on nodes that came back with samples of them after they had been given up."""
        self.settled_before: set[UUID] = set()
        """Those of them whose statements were final by then; a statement is never changed."""

    @classmethod
    async def begin(cls, seed: int, database: Database, clock: FakeClock, folder: Path) -> Self:
        random = Random(seed)
        world = await World.open(database, clock, folder, ForgetfulQueue(random))
        weather = Weather(random, ZONES, clock.now(), hours=MAX_TICKS)
        world.ports = world.other_ports(grid_source=weather)
        await actions.refresh_grid(world.ports, None)
        market = await Market.open(world, euros=FUNDS)
        life = cls(seed, market, clock, random, weather)
        for name, zone, gpu_count in NODES:
            await life._add_site(name, zone, gpu_count)
        await life._work_steadily()
        return life

    async def _add_site(self, name: str, zone: str, gpu_count: int) -> None:
        price = f"{LIST_PRICE * self.random.uniform(0.8, 1.2):.2f}"
        agent = await self.market.add_node(name, zone, gpu_count=gpu_count, price_eur_per_gpu_hour=price)
        network = UnreliableNetwork(httpx.ASGITransport(app=self.world.app), self.random, self.happened)
        client = httpx.AsyncClient(transport=network, base_url="http://test", headers=agent.client.headers)
        self.world.clients.append(client)
        agent.client = client
        self.sites.append(Site(agent, network, self.scripts, self.random, self.happened))

    # --- time ----------------------------------------------------------------------------------------------------------

    async def tick(self) -> bool:
        """Arrivals, time, node faults, what nodes do and what workers make of it. True when no worker died in it."""
        self.tick_number += 1
        is_busy = self.tick_number <= BUSY_TICKS
        await self.world.outlive_claims()
        if is_busy:
            await self._arrivals()
            await self._changes_of_mind()
        self.clock.advance(TICK)
        await actions.refresh_grid(self.world.ports, None)
        await self._node_faults(is_busy)
        await self._act()
        carry, is_steady = self._workers(is_busy)
        await self.world.drain(carry)
        await self._sweep(carry, is_steady)
        await self._act()
        await self.world.drain(carry)
        for site in self.sites:
            await site.network.flush()
        return is_steady

    async def _act(self) -> None:
        await self._stamp_orders()
        for site in self.sites:
            if site.agent.alive:
                await site.act(self.clock.now())

    async def _stamp_orders(self) -> None:
        """Orders carry the database's wall time; put the market's in its place, so that timeouts of starts and stops run on it."""
        await self.world.execute(
            "update placements set ordered_wall_at = :now where state in ('starting', 'stopping') and ordered_wall_at > :far",
            now=self.clock.now(),
            far=self.clock.now() + timedelta(days=30),
        )

    def _workers(self, is_busy: bool) -> tuple[Carry | None, bool]:
        """How this tick's work is carried out, and whether all of it is carried out."""
        die = self.random.random() if is_busy else 1.0
        if die < RACES:
            self.happened["raced"] += 1
            return Racing(self.world, 2), True
        if die < RACES + CRASHES:
            return Crashing(self.world, self.random, self.happened), False
        return None, True

    async def _sweep(self, carry: Carry | None, is_steady: bool) -> None:
        await self.world.make_due()
        due = await self._due_rows()
        for action in SWEEPS:
            await (carry or self.world._carry)(action, None)
        if is_steady:
            untouched = due & await self._due_rows()
            assert not untouched, f"due and untouched after a sweep: {untouched}"

    async def _due_rows(self) -> set[tuple[str, UUID, datetime]]:
        return {
            (table, row["id"], row["due_at"])
            for table in WORK_TABLES
            for row in await self.world.rows(
                f"select id, due_at from {table} where due_at <= clock_timestamp() and claim_until is null"
            )
        }

    async def _work_steadily(self) -> None:
        await self.world.drain()
        await self.world.sweep()

    # --- what happens --------------------------------------------------------------------------------------------------

    async def _arrivals(self) -> None:
        while len(self.scripts) < ARRIVALS and self.random.random() < ARRIVALS / (ARRIVALS + BUSY_TICKS * 0.6):
            await self._submit()

    async def _submit(self) -> None:
        random, is_long = self.random, self.random.random() < LONG
        hours = round(random.uniform(9, 15) if is_long else random.uniform(0.5, 5), 2)
        gpus, has_checkpoints = random.choice([1, 1, 1, 2]), is_long or random.random() < 0.6
        budget = hours * gpus * LIST_PRICE * random.choice([0.4, 1.1, 1.5, 2, 3])
        deadline_at = self.clock.now() + timedelta(hours=hours * random.uniform(0.9, 4) + 0.5)
        workload_id = await self.market.submit(
            name=f"w{len(self.scripts)}",
            gpus=gpus,
            expected_hours=hours,
            budget={"amount": f"{budget:.2f}", "currency": "EUR"},
            checkpoint={"size_mib": random.choice([1, 500]), "interval_s": 600} if has_checkpoints else None,
            green_only=random.random() < 0.3,
            max_intensity_g_per_kwh=random.choice([None, None, None, 150.0, 250.0]),
            deadline_at=deadline_at.isoformat() if random.random() < 0.25 else None,
            max_restarts=random.choice([0, 1, 3]),
        )
        steps = round(hours * STEPS_PER_HOUR)
        self.scripts[str(workload_id)] = Script(
            total_steps=steps,
            pace=STEPS_PER_HOUR * random.uniform(0.6, 1.4),
            checkpoints=has_checkpoints,
            fails_at=[random.randrange(steps) for _ in range(random.choice([0, 0, 0, 1, 2]))],
        )

    async def _changes_of_mind(self) -> None:
        if self.random.random() < CHANGES_ITS_MIND:
            await self._ask_to_stop(self.random.choice(["cancel", "complete"]))

    async def _ask_to_stop(self, what: str) -> None:
        open_rows = await self.world.rows("select id from workloads where state <> all(:ended) order by id", ended=list(ENDED))
        if open_rows:
            answer = await self.market.ask(self.random.choice(open_rows)["id"], what)
            assert answer.is_success or answer.status_code == 409, answer.text
            self.happened[what] += 1

    async def _node_faults(self, is_busy: bool) -> None:
        for site in self.sites:
            die = self.random.random()
            if not site.agent.alive and (die < RETURNS or not is_busy):
                await site.come_back()
                await self._note_late_samples(site)
            elif site.agent.alive and is_busy and die < DIES:
                self.happened["died"] += 1
                site.die()
            elif site.agent.alive and is_busy and die < DIES + VANISHES:
                self.happened["vanished"] += 1
                site.vanish()
            elif site.agent.alive:
                await site.look_alive()

    async def _note_late_samples(self, site: Site) -> None:
        given_up = await self.world.rows(
            "select p.id, w.ended_at is not null as settled from placements p join workloads w on w.id = p.workload_id"
            " where p.node_id = :node_id and p.end_reason = 'lost'",
            node_id=UUID(site.agent.node_id),
        )
        news = [row for row in given_up if row["id"] not in self.told_late]
        self.told_late |= {row["id"] for row in news}
        self.settled_before |= {row["id"] for row in news if row["settled"]}

    # --- the end -------------------------------------------------------------------------------------------------------

    async def is_over(self) -> bool:
        return await self.world.count("workloads", "state <> all(:ended)", ended=list(ENDED)) == 0

    async def give_up_waiting(self) -> None:
        """Owners of what nobody will ever run call it off."""
        for row in await self.world.rows("select id from workloads where state = 'waiting' order by id"):
            answer = await self.market.ask(row["id"], "cancel")
            assert answer.is_success, answer.text
