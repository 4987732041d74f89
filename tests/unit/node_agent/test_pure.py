"""The agent's pure parts, and those that need no more than a folder."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gridbroker_job import manifest_sha256
from hypothesis import given
from hypothesis import strategies as st

from gridbroker.node_agent import backoff, checkpoint, codec, config
from gridbroker.node_agent.backends.process import Stat
from gridbroker.node_agent.checkpoint import BadCheckpoint
from gridbroker.node_agent.clock import GridClock, rfc3339
from gridbroker.node_agent.energy import ModelledEnergy
from gridbroker.node_agent.output import LineSplitter, parse_progress, to_text
from gridbroker.node_agent.protocol import (
    MAX_LOG_LINE_CHARS,
    Action,
    CheckpointFile,
    EnergyKind,
    Order,
    ResumePoint,
    Sample,
    manifest_bytes,
)
from gridbroker.node_agent.reconcile import Deed, reconcile
from gridbroker.node_agent.sampler import Counter, Meter, advance
from gridbroker.node_agent.spool import SAMPLES_LANE, Spool
from gridbroker.node_agent.store import Store

NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)


def order(placement_id: str = "p", epoch: int = 1, action: Action = Action.RUN) -> Order:
    return Order(placement_id=placement_id, epoch=epoch, action=action, workload_id="w", attempt=1, command=("true",))


# Wire ---------------------------------------------------------------------------------------------------------------------------


def test_an_order_survives_the_wire() -> None:
    file = CheckpointFile(path="a/b", bytes=3, sha256="0" * 64)
    resume = ResumePoint(checkpoint_id="c", step=4, files=(file,))
    sent = replace(order("p", 2, Action.KILL), command=("a", "b"), gpu_indices=(0, 1), resume=resume)
    assert codec.decode(Order, json.loads(codec.encode(sent))) == sent


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"epoch": "1"}, "/epoch"),
        ({"action": "dance"}, "/action"),
        ({"command": ["a", 1]}, "/command/1"),
        ({"attempt": True}, "/attempt"),
    ],
)
def test_a_wrong_order_names_the_wrong_place(change: dict[str, object], place: str) -> None:
    with pytest.raises(codec.Undecodable, match=place):
        codec.decode(Order, json.loads(codec.encode(order())) | change)


def test_a_newer_server_may_say_more() -> None:
    assert codec.decode(Order, json.loads(codec.encode(order())) | {"new_field": 1}) == order()


# Orders -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orders", "live", "ended", "deeds"),
    [
        ([order()], [], [], [Deed.START]),
        ([order()], [("p", 1)], [], []),
        ([order()], [], [("p", 1)], []),
        ([], [("p", 1)], [], [Deed.KILL]),
        ([order(action=Action.KILL)], [("p", 1)], [], [Deed.KILL]),
        ([order(action=Action.CHECKPOINT_AND_STOP)], [("p", 1)], [], [Deed.STOP]),
        ([order(action=Action.CHECKPOINT_AND_STOP)], [], [], [Deed.NEVER_STARTED]),
        ([order(action=Action.KILL)], [], [("p", 1)], []),
        # The next lease of the same placement waits until the program of the one before is gone.
        ([order(epoch=2)], [("p", 1)], [], [Deed.FENCE]),
        ([order(epoch=2)], [], [("p", 1)], [Deed.START]),
        ([order("../up")], [], [], []),
    ],
)
def test_orders_are_the_desired_state(
    orders: list[Order], live: list[tuple[str, int]], ended: list[tuple[str, int]], deeds: list[Deed]
) -> None:
    assert [decision.deed for decision in reconcile(orders, live, ended)] == deeds


# Output -------------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)), st.data())
def test_however_output_is_cut_its_lines_are_the_same(lines: list[str], data: st.DataObject) -> None:
    raw = "".join(line + data.draw(st.sampled_from(["\n", "\r\n"])) for line in lines).encode()
    splitter, found, rest = LineSplitter(), [], raw
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        found += splitter.feed(rest[:size])
        rest = rest[size:]
    assert found + splitter.finish() == lines


def test_odd_output_is_made_harmless() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"10%\r20%\r\nbad \xff\0\n") == ["10%", "20%", "bad \ufffd\ufffd"]
    assert splitter.feed(b"x" * 100_000) == []
    (line,) = splitter.feed(b"x" * 100_000 + b"\n")
    assert len(line) == MAX_LOG_LINE_CHARS
    assert line.endswith("[cut]")
    assert to_text(("é" * MAX_LOG_LINE_CHARS).encode()) == "é" * MAX_LOG_LINE_CHARS


def test_only_a_whole_progress_line_counts() -> None:
    assert parse_progress("gridbroker:progress step=12 total=400") == (12, 400)
    assert parse_progress("gridbroker:progress step=12") == (12, None)
    assert parse_progress("note: gridbroker:progress step=12") is None


# Checkpoints --------------------------------------------------------------------------------------------------------------------


def test_only_committed_steps_count_and_the_newest_two_stay(tmp_path: Path) -> None:
    for step in (2, 9, 10, 30):
        (tmp_path / f"step-{step}").mkdir()
        (tmp_path / f"step-{step}" / "COMMITTED").write_text("{}")
    for name in ("step-40", "step-50.tmp", "step-x"):
        (tmp_path / name).mkdir()
    assert checkpoint.committed_steps(tmp_path) == [2, 9, 10, 30]
    checkpoint.prune(tmp_path, {2})
    assert checkpoint.committed_steps(tmp_path) == [2, 10, 30]
    assert checkpoint.committed_steps(tmp_path / "missing") == []


def test_a_torn_checkpoint_or_one_with_a_link_is_never_uploaded(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"abc")
    (tmp_path / "COMMITTED").write_text(json.dumps({"step": 1, "sha256": manifest_sha256(tmp_path)}))
    (file,) = checkpoint.describe(tmp_path)
    assert file == CheckpointFile(path="weights", bytes=3, sha256=hashlib.sha256(b"abc").hexdigest())
    (tmp_path / "weights").write_bytes(b"abd")
    with pytest.raises(BadCheckpoint, match="not those"):
        checkpoint.describe(tmp_path)
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(BadCheckpoint, match="not a regular file"):
        checkpoint.describe(tmp_path)


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", "COMMITTED", "a//b", "./a", "a\0b"])
def test_a_path_that_leaves_its_folder_is_refused(path: str) -> None:
    file = CheckpointFile(path=path, bytes=1, sha256="0" * 64)
    with pytest.raises(BadCheckpoint):
        checkpoint.check_resume_point(ResumePoint(checkpoint_id="c", step=1, files=(file,)))


def test_kit_agent_and_contract_hash_a_checkpoint_alike(tmp_path: Path) -> None:
    for name in ("b", "a b", "z/deep", "a-b", "é"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "COMMITTED").write_text("{}")
    files = checkpoint.describe(tmp_path)
    assert manifest_sha256(tmp_path) == checkpoint.manifest_sha256(files) == hashlib.sha256(manifest_bytes(files)).hexdigest()


# Energy -------------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 10**10), st.one_of(st.none(), st.floats(0, 1))), max_size=20))
def test_the_meter_loses_less_than_a_millijoule_however_often_it_is_read(intervals: list[tuple[int, float | None]]) -> None:
    source = ModelledEnergy(idle_w=60, max_w=700)
    counter, exact_nj = Counter(gpu_index=0, at=NOON), 0
    for elapsed_us, load in intervals:
        reading = source.read(0, elapsed_us=elapsed_us, load=load, previous_raw_mj=None)
        exact_nj += reading.energy_nj
        counter = advance(counter, reading, NOON)
    assert counter.energy_mj == exact_nj // 1_000_000


def test_a_placement_pays_for_its_own_time_exactly(tmp_path: Path) -> None:
    clock = SteppedClock()
    meter = Meter(ModelledEnergy(idle_w=100, max_w=500), Spool(Store(tmp_path / "db")), clock, gpu_count=2)
    clock.at += timedelta(seconds=10)
    started = meter.hold([1], 0.5)
    clock.at += timedelta(seconds=7)
    meter.sample()
    clock.at += timedelta(seconds=3)
    # The program ended a second ago; nobody looked until now.
    ended = meter.release([1], clock.at - timedelta(seconds=1))
    assert (started, ended) == (NOON + timedelta(seconds=10), NOON + timedelta(seconds=19))
    samples = stored_samples(tmp_path / "db")
    assert [(s.gpu_index, s.energy_mj) for s in samples if s.gpu_index == 1] == [(1, 1_000_000), (1, 3_100_000), (1, 3_700_000)]
    assert [s.seq for s in samples if s.gpu_index == 1] == [1, 2, 3]
    assert {s.kind for s in samples} == {EnergyKind.MODELLED}


def test_the_counter_goes_on_after_a_restart_but_not_when_time_went_back(tmp_path: Path) -> None:
    clock = SteppedClock()
    source = ModelledEnergy(idle_w=100, max_w=500)
    first = Meter(source, Spool(Store(tmp_path / "db")), clock, gpu_count=1)
    clock.at += timedelta(seconds=1)
    first.sample()
    clock.at += timedelta(seconds=9)
    second = Meter(source, Spool(Store(tmp_path / "db")), clock, gpu_count=1)
    second.sample()
    clock.at -= timedelta(hours=1)
    third = Meter(source, Spool(Store(tmp_path / "db")), clock, gpu_count=1)
    third.sample()
    assert [(s.seq, s.energy_mj) for s in stored_samples(tmp_path / "db")] == [(1, 100_000), (2, 1_000_000), (1, 0)]


class SteppedClock(GridClock):
    """Stands still until moved."""

    def __init__(self) -> None:
        object.__setattr__(self, "at", NOON)
        super().__init__()

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def wall(self) -> datetime:
        return self.at


def stored_samples(path: Path) -> list[Sample]:
    rows = Store(path).rows("select body from messages where lane = ? order by id", SAMPLES_LANE)
    return [codec.decode(Sample, json.loads(row["body"])) for row in rows]


# Edges --------------------------------------------------------------------------------------------------------------------------


def test_grid_time_runs_faster_by_the_factor() -> None:
    clock = GridClock(720, NOON, datetime(2022, 1, 1, tzinfo=UTC))
    assert clock.grid_at(NOON + timedelta(seconds=10)) == datetime(2022, 1, 1, 2, tzinfo=UTC)
    assert rfc3339(NOON) == "2026-03-20T12:00:00.000000Z"


def test_configuration_is_read_and_checked() -> None:
    environment = {"GRIDBROKER_SERVER_URL": "http://h", "GRIDBROKER_GPU_COUNT": "8", "PATH": "/bin", "SECRET": "s", "LANG": "C"}
    loaded = config.load(environment, pue="1.2", zone=None)
    assert (loaded.gpu_count, loaded.pue, loaded.base_environment) == (8, 1.2, {"PATH": "/bin", "LANG": "C"})
    for name, value in (("GPU_COUNT", "many"), ("PUE", "0.9"), ("CLOCK_FACTOR", "60"), ("CLOCK_WALL_EPOCH", "2026-03-20T12:00:00")):
        with pytest.raises(config.BadConfig, match=f"GRIDBROKER_{name}"):
            config.load(environment | {f"GRIDBROKER_{name}": value})
    with pytest.raises(config.BadConfig, match="SERVER_URL"):
        config.load({})


def test_backing_off_doubles_to_a_bound_and_heeds_the_server() -> None:
    assert all(0.125 <= backoff.delay_s(1) <= 0.25 for _ in range(50))
    assert all(15 <= backoff.delay_s(99) <= 30 for _ in range(50))
    assert backoff.delay_s(1, at_least_s=60) == 60


def test_a_process_is_told_apart_by_its_start() -> None:
    line = "4242 (odd ) (name) S 1 4200 4100 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2"
    assert Stat.parse(line) == Stat(pid=4242, state="S", group=4200, start_ticks=987654)
