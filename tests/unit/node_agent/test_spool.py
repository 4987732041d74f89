"""What the spool promises: order within a lane, `exited` last, bounds."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gridbroker.node_agent.protocol import EnergyKind, ReportKind, Sample
from gridbroker.node_agent.spool import CHECKPOINT_LANE, MAX_BATCH_BYTES, PLACEMENT_LANE, SAMPLES_LANE, Spool
from gridbroker.node_agent.store import Store

LANE = PLACEMENT_LANE + "p"
AT = "2026-03-20T12:00:00.000000Z"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    store = Store(tmp_path / "db")
    yield Spool(store)
    store.close()


def sample(seq: int, gpu_index: int = 0) -> Sample:
    return Sample(seq=seq, gpu_index=gpu_index, at=AT, energy_mj=seq, power_w=1, utilisation=0, kind=EnergyKind.MODELLED)


def test_exited_waits_for_what_came_before_it(spool: Spool) -> None:
    spool.add_samples("boot", [sample(1)], edge=True)
    spool.add_checkpoint("p", 1, 10)
    spool.add_report("p", 1, ReportKind.EXITED, AT, exit_code=0)
    spool.add_samples("boot", [sample(2)], edge=False)
    assert spool.next_batch(LANE) is None
    for lane in (SAMPLES_LANE, CHECKPOINT_LANE + "p"):
        batch = spool.next_batch(lane, most=1)
        assert batch is not None
        spool.forget(batch)
    exited = spool.next_batch(LANE)
    assert exited is not None
    assert exited.kind == "exited"


def test_batches_are_of_one_kind_and_bounded_in_number_and_bytes(spool: Spool) -> None:
    spool.add_report("p", 1, ReportKind.RUNNING, AT)
    spool.add_logs("p", 1, [(AT, "stdout", "x" * 8000)] * 100 + [(AT, "stdout", "y")] * 600)
    spool.add_report("p", 1, ReportKind.EXITED, AT, exit_code=0)
    sizes: list[tuple[str, int]] = []
    while batch := spool.next_batch(LANE):
        assert sum(len(body) for body in batch.bodies) <= MAX_BATCH_BYTES
        sizes.append((batch.kind, len(batch.ids)))
        spool.forget(batch)
    assert [kind for kind, _ in sizes] == ["running", *["log"] * (len(sizes) - 2), "exited"]
    assert sum(count for _, count in sizes) == 702
    assert max(count for _, count in sizes) <= 500
    assert spool.log_bytes("p") == spool.backlog() == 0


def test_only_the_newest_progress_waits_and_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    first = Spool(Store(tmp_path / "db"))
    first.add_report("p", 1, ReportKind.RUNNING, AT)
    for step in range(5):
        first.add_report("p", 1, ReportKind.PROGRESS, AT, step=step)
    again = Spool(Store(tmp_path / "db"))
    again.add_report("p", 1, ReportKind.EXITED, AT)
    reports = [json.loads(row["body"]) for row in again.store.rows("select body from messages order by id")]
    assert [(report["kind"], report["seq"], report["step"]) for report in reports] == [
        ("running", 1, None),
        ("progress", 6, 4),
        ("exited", 7, None),
    ]


def test_a_storm_of_checkpoints_keeps_the_first_and_the_newest(spool: Spool) -> None:
    for step in range(10, 60, 10):
        spool.add_checkpoint("p", 1, step)
    assert spool.pending_steps("p") == {10, 50}


def test_too_many_samples_are_thinned_but_never_the_edges(tmp_path: Path) -> None:
    spool = Spool(Store(tmp_path / "db"), max_unsent_samples=100)
    spool.add_samples("boot", [sample(1)], edge=True)
    for seq in range(2, 400):
        spool.add_samples("boot", [sample(seq)], edge=seq == 250)
    left = [json.loads(row["body"])["seq"] for row in spool.store.rows("select body from messages order by id")]
    assert len(left) <= 100
    assert {1, 250, 399} <= set(left)
    assert left == sorted(left)


def test_fencing_forgets_one_epoch_only(spool: Spool) -> None:
    spool.add_logs("p", 1, [(AT, "stdout", "old")])
    spool.add_logs("p", 2, [(AT, "stdout", "new")])
    spool.forget_placement("p", 1)
    batch = spool.next_batch(LANE)
    assert batch is not None
    assert (batch.epoch, len(batch.ids)) == (2, 1)


def test_an_interrupted_write_leaves_nothing(spool: Spool) -> None:
    def half_way() -> None:
        with spool.store.tx():
            spool.add_report("p", 1, ReportKind.RUNNING, AT)
            raise OSError

    with pytest.raises(OSError):
        half_way()
    assert spool.backlog() == 0
    assert spool.store.count("report:p") == 1
