"""The command's options and result, and what it reads from other programs."""

from pathlib import Path

import pytest

from benchmarks import cpu, foundation, pgbench
from benchmarks.scale import QUICK, Scale
from benchmarks.stacks import BenchmarkFailed


def _scale(*arguments: str) -> Scale:
    return foundation.scale_of(foundation._parser().parse_args(arguments))


def test_the_default_is_what_the_targets_speak_of() -> None:
    scale = _scale()
    assert (scale.clients, scale.rate_per_s, scale.submit_s) == (20, 100.0, 30.0)
    assert (scale.workloads, scale.agents, scale.sequential) == (1000, 50, 30)


def test_options_shrink_a_run() -> None:
    assert _scale("--quick") == QUICK
    assert _scale("--workloads", "7", "--agents", "2") == Scale(workloads=7, agents=2)


@pytest.mark.parametrize("wrong", [["--only", "nothing"], ["--workloads", "0"], ["--agents", "-1"]])
def test_wrong_options_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        _scale(*wrong)
    assert raised.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_what_is_not_measured_is_null_and_a_part_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(_folder: Path, _scale: Scale) -> dict[str, object]:
        raise BenchmarkFailed("no luck")

    parts = {"pgbench": (lambda _folder, _scale: {"pgbench_tps": 100.0}, "one"), "up": (fails, "other")}
    monkeypatch.setattr(foundation, "PARTS", parts)
    result = foundation.run(list(parts), QUICK, tmp_path)
    assert {name: result[name] for name in foundation.ALWAYS} == dict.fromkeys(foundation.ALWAYS) | {"pgbench_tps": 100.0}
    assert result["failed"] == {"up": "no luck"}
    assert not list(tmp_path.iterdir())


def test_targets_are_met_below_their_limit() -> None:
    measured = {"up_ready_s": 9.9, "submit_p99_ms": 50.0, "submit_to_running_p95_s": None}
    assert foundation.met(measured) == {"up_ready_s": True, "submit_p99_ms": False, "submit_to_running_p95_s": None}


def test_pgbench_says_its_tps_without_connecting() -> None:
    assert pgbench.read_tps("latency average = 4.5 ms\ntps = 1784.912 (without initial connection time)\n") == 1784.912
    with pytest.raises(BenchmarkFailed):
        pgbench.read_tps("pgbench: error: connection refused")


def test_processor_time_is_read_behind_a_name_with_brackets() -> None:
    fields = ["S", "7", *("0" for _ in range(9)), "3", "4", "5", "6", "20"]
    assert cpu.parse_stat(f"12 (a) b (c) {' '.join(fields)}") == (7, 18)
    assert cpu.per_piece_ms({"api": 1.0}, {"api": 3.0, "new": 9.0}, 1000) == {"api": 2.0}
