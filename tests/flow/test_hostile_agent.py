"""What a broken or lying agent sends: each a specific problem document, and nothing written."""

import dataclasses
from datetime import timedelta
from typing import Any

from gridbroker.node_agent.codec import encode
from gridbroker.node_agent.protocol import CheckpointFile, EnergyKind, LogLine, Report, ReportKind, Sample, manifest_bytes
from tests.flow.support.agent import JSON, ScriptedAgent, commit_of, registration, sha256_of
from tests.flow.support.checks import check_market, check_proof
from tests.flow.support.world import Market, ok, refused

HOUR = timedelta(hours=1)


# --- bytes ---------------------------------------------------------------------------------------------------------------


def _stored(market: Market) -> list[str]:
    return sorted(path.name for path in market.world.ports.settings.blob_dir.glob("*/*"))


async def test_a_blob_with_another_hash(small: Market) -> None:
    _, agent, order = await small.started()
    body = refused(await agent.put_blob(order, b"other bytes", sha256_of(b"bytes")), 422, "hash_mismatch")
    assert body["errors"][0]["pointer"] == "/sha256"
    assert _stored(small) == []
    assert not await agent.has_blob(order, sha256_of(b"bytes"))


async def test_a_blob_by_another_name(small: Market) -> None:
    _, agent, order = await small.started()
    for name in ("0" * 63, "Z" * 64, "A" * 64, "..%2f..%2fetc", "%2e%2e"):
        assert (await agent.put_blob(order, b"bytes", name)).status_code in (404, 405, 415, 422), name
    assert _stored(small) == []


async def test_a_blob_that_is_too_large(small: Market) -> None:
    _, agent, order = await small.started()
    limited = dataclasses.replace(small.world.ports, settings=dataclasses.replace(small.world.ports.settings, max_blob_bytes=10))
    small.world.serve(limited)
    refused(await agent.on(small.world).put_blob(order, b"eleven bytes"), 413, "too_large")
    assert _stored(small) == []


async def test_a_checkpoint_without_its_files(small: Market) -> None:
    workload_id, agent, order = await small.started()
    contents = {"a": b"here", "b": b"missing"}
    ok(await agent.put_blob(order, b"here"))
    refused(await agent.commit(order, commit_of(order, 5, contents)), 409, "checkpoint_incomplete")
    assert await small.world.count("checkpoints") == 0
    ok(await agent.put_blob(order, b"missing"))
    first = ok(await agent.commit(order, commit_of(order, 5, contents)))
    assert ok(await agent.commit(order, commit_of(order, 5, contents))) == first
    assert await small.world.count("checkpoints") == 1
    ok(await agent.put_blob(order, b"different"))
    refused(await agent.commit(order, commit_of(order, 5, {"a": b"different"})), 409, "conflict")
    assert await small.state(workload_id) == "running"


def _with_file(order: Any, **changes: Any) -> Any:
    """A commit whose hash is right for a file that is not."""
    good = commit_of(order, 5, {"model.pt": b"bytes"})
    files = (dataclasses.replace(good.files[0], **changes),)
    return dataclasses.replace(good, files=files, manifest_sha256=sha256_of(manifest_bytes(files)))


async def test_a_path_that_leads_elsewhere(small: Market) -> None:
    _, agent, order = await small.started()
    ok(await agent.put_blob(order, b"bytes"))
    for path in ("../escape", "/etc/passwd", "a/../../b", "", "..", "nul\0", "line\nbreak", "x" * 1025, "a/./../../c"):
        body = refused(await agent.commit(order, _with_file(order, path=path)), 422, "invalid")
        assert body["errors"][0]["pointer"] == "/files/0"
    assert await small.world.count("checkpoints") == 0


async def test_a_commit_that_is_wrong(small: Market) -> None:
    _, agent, order = await small.started()
    ok(await agent.put_blob(order, b"bytes"))
    good = commit_of(order, 5, {"model.pt": b"bytes"})
    refused(await agent.commit(order, dataclasses.replace(good, manifest_sha256="0" * 64)), 422, "hash_mismatch")
    for changes in ({"step": -1}, {"step": 2**63}, {"files": ()}, {"step": "five"}):
        refused(await agent.commit(order, dataclasses.replace(good, **changes)), 422, "invalid")
    assert await small.world.count("checkpoints") == 0


async def test_a_file_of_another_size_or_name_twice(small: Market) -> None:
    _, agent, order = await small.started()
    ok(await agent.put_blob(order, b"bytes"))
    refused(await agent.commit(order, _with_file(order, bytes=6)), 409, "checkpoint_incomplete")
    refused(await agent.commit(order, _with_file(order, sha256="../../x")), 422, "invalid")
    one = CheckpointFile(path="a", bytes=5, sha256=sha256_of(b"bytes"))
    twice = dataclasses.replace(
        commit_of(order, 5, {"a": b"bytes"}), files=(one, one), manifest_sha256=sha256_of(manifest_bytes((one, one)))
    )
    refused(await agent.commit(order, twice), 422, "invalid")
    assert await small.world.count("checkpoints") == 0


# --- samples -------------------------------------------------------------------------------------------------------------


def _samples(agent: ScriptedAgent, *minutes: int, first_seq: int = 1000) -> list[Sample]:
    now = agent.world.clock.now()
    return [
        Sample(
            seq=first_seq + minute,
            gpu_index=0,
            at=(now + timedelta(minutes=minute)).isoformat(),
            energy_mj=agent.energy_mj[0] + 30_000_000 * minute,
            power_w=500.0,
            utilisation=1.0,
            kind=EnergyKind.MEASURED,
        )
        for minute in minutes
    ]


async def test_samples_out_of_order_and_twice(small: Market) -> None:
    """Sent backwards, each twice, in two batches: kept once, and the energy is that of the counter."""
    workload_id, agent, order = await small.started()
    await small.world.advance(HOUR)
    late = [
        dataclasses.replace(one, at=(small.world.clock.now() - HOUR + timedelta(minutes=m)).isoformat())
        for m, one in enumerate(_samples(agent, *range(10)))
    ]
    late = [dataclasses.replace(one, energy_mj=30_000_000 * m) for m, one in enumerate(late)]
    kept = await small.world.count("samples")
    assert ok(await agent.send_samples(*late[:4:-1], *late[:4:-1])) == {"accepted": 5, "duplicates": 5}
    assert ok(await agent.send_samples(*reversed(late))) == {"accepted": 5, "duplicates": 5}
    assert await small.world.count("samples") == kept + 10
    await agent.exit(order, 0)
    await small.world.drain()
    await small.settle_all()
    assert (await check_proof(small, workload_id))["energy_mj"] == agent.used_mj[order.placement_id]


WRONG_SAMPLES = (
    ("at", "2026-03-20T12:06:00+00:00"),
    ("at", "2026-03-20T12:00:00"),
    ("at", "yesterday"),
    ("at", "2025-03-20T12:00:00+00:00"),
    ("energy_mj", -1),
    ("energy_mj", 2**63),
    ("power_w", 1e6),
    ("utilisation", 1.5),
    ("gpu_index", 1),
    ("seq", 0),
)


async def test_one_impossible_sample_refuses_its_batch(small: Market) -> None:
    _, agent, _ = await small.started()
    before = await small.world.count("samples")
    good, bad = _samples(agent, 0, 1)
    for name, value in WRONG_SAMPLES:
        batch = (dataclasses.replace(good, seq=1), dataclasses.replace(bad, **{name: value}))
        body = refused(await agent.send_samples(*batch, boot_id="hostile"), 422, "invalid_samples")
        assert body["errors"][0]["pointer"] == f"/samples/1/{name}", value
    assert await small.world.count("samples") == before


# --- clocks and times ----------------------------------------------------------------------------------------------------


async def test_a_clock_that_is_an_hour_off(small: Market) -> None:
    world, agent = small.world, small.world.agents["es"]
    token = await small.token("es")
    before = await world.rows("select last_seen_at, health from nodes")
    world.clock.advance(timedelta(seconds=10))
    for off in (-HOUR, HOUR):
        sent_at = (world.clock.wall() + off).isoformat()
        body = refused(await agent.beat(sent_at=sent_at), 422, "clock_skew")
        assert body["errors"][0]["pointer"] == "/sent_at"
        wrong = registration(world, token, name="n2", sent_at=sent_at)
        refused(await world.client().post("/api/v1/nodes", content=encode(wrong), headers=JSON), 422, "clock_skew")
    assert await world.rows("select last_seen_at, health from nodes") == before
    right = registration(world, token, name="n2")
    ok(await world.client().post("/api/v1/nodes", content=encode(right), headers=JSON))


async def test_a_report_from_the_future(small: Market) -> None:
    workload_id, agent, order = await small.started()
    at = (small.world.clock.now() + HOUR).isoformat()
    refused(await agent.report(order, ReportKind.EXITED, exit_code=0, at=at), 422, "invalid")
    refused(await agent.report(order, ReportKind.EXITED, exit_code=0, at="noon"), 422, "invalid")
    refused(await agent.send_logs(order, LogLine(seq=1, at=at, stream="stdout", text="x")), 422, "invalid")
    await small.world.drain()
    assert await small.state(workload_id) == "running"


async def test_nobody_bills_for_time_before_the_lease(small: Market) -> None:
    """A start a week ago would eat the whole budget."""
    workload_id = await small.submit()
    await small.world.drain()
    agent, order = await small.placed(workload_id)
    week_ago = (small.world.clock.now() - timedelta(days=7)).isoformat()
    assert (await agent.report(order, ReportKind.RUNNING, at=week_ago)).status_code == 204
    await small.world.drain()
    await small.world.advance(HOUR)
    await agent.exit(order, 0)
    await small.world.drain()
    shown = await small.show(workload_id)
    assert (shown["state"], shown["cost_eur"]) == ("completed", "2.40")
    await check_market(small)


async def test_nobody_bills_for_time_to_come(small: Market) -> None:
    """Up to five minutes ahead a clock is believed, but not paid."""
    workload_id, agent, order = await small.started()
    await small.world.advance(HOUR)
    soon = (small.world.clock.now() + timedelta(minutes=4)).isoformat()
    await agent.exit(order, 0, at=soon)
    await small.world.drain()
    assert (await small.show(workload_id))["cost_eur"] == "2.40"
    await check_market(small)


# --- numbers and text that no column takes -------------------------------------------------------------------------------


WRONG_REPORTS: tuple[dict[str, int], ...] = (
    {"seq": 2**63},
    {"exit_code": 2**31},
    {"exit_code": -(2**31) - 1},
    {"step": -1},
    {"step": 2**63, "total_steps": 5},
    {"step": 1, "total_steps": 0},
)


async def test_a_report_with_impossible_numbers(small: Market) -> None:
    workload_id, agent, order = await small.started()
    given = Report(epoch=1, seq=50, kind=ReportKind.EXITED, at=small.world.clock.now().isoformat(), exit_code=1)
    for changes in WRONG_REPORTS:
        refused(await agent.send_report(order, dataclasses.replace(given, **changes)), 422, "invalid")
    for seq in (0, -5):
        assert (await agent.send_report(order, dataclasses.replace(given, seq=seq))).status_code == 204, "older than the newest"
    await small.world.sweep()
    assert await small.state(workload_id) == "running"


async def test_text_that_no_column_takes(small: Market) -> None:
    _, agent, order = await small.started(max_restarts=0)
    for seq in (2**63, 0, -1):
        line = LogLine(seq=seq, at=small.world.clock.now().isoformat(), stream="stdout", text="x")
        refused(await agent.send_logs(order, line), 422, "invalid")
    ok(await agent.log(order, "nul \0 byte", "x" * 20_000))
    [first, second] = await small.world.rows("select text from workload_logs order by seq")
    assert (first["text"], len(second["text"])) == ("nul \ufffd byte", 8192)
    ok(await agent.report(order, ReportKind.EXITED, exit_code=1, reason="out of\0memory " + "x" * 5000))
    await small.world.drain()
    [placement] = await small.world.rows("select reason from placements")
    assert placement["reason"].startswith("out of\ufffdmemory")


async def test_a_body_that_is_no_message(small: Market) -> None:
    _, agent, order = await small.started()
    own = f"placements/{order.placement_id}"
    for path in ("heartbeat", "samples", f"{own}/reports", f"{own}/logs", f"{own}/checkpoints"):
        refused(await agent.send(path, "{not json"), 400, "malformed_request")
        for text in ("[]", "{}", "null"):
            refused(await agent.send(path, text), 422, "invalid")


# --- credentials ---------------------------------------------------------------------------------------------------------


async def test_tokens_admit_one_node_in_time(small: Market) -> None:
    world = small.world

    async def register(token: str, name: str):
        return await world.client().post("/api/v1/nodes", content=encode(registration(world, token, name=name)), headers=JSON)

    expired = await small.token("es", ttl_s=60)
    used = await small.token("es", ttl_s=3600)
    ok(await register(used, "n2"))
    world.clock.advance(timedelta(seconds=60))
    refused(await register(expired, "n3"), 401, "node_token_expired")
    refused(await register(used, "n3"), 409, "node_token_used")
    refused(await register(used[:-1] + ("A" if used[-1] != "A" else "B"), "n3"), 401, "node_token_unknown")
    refused(await register("", "n3"), 401, "node_token_unknown")
    assert await world.count("nodes") == 2


async def test_a_node_that_registers_again_ends_its_older_key(small: Market) -> None:
    workload_id, agent, order = await small.started()
    again = await ScriptedAgent.register(small.world, await small.token("es"), name="es", zone="ES", gpu_count=1)
    assert again.node_id == agent.node_id
    refused(await agent.beat(), 401, "unauthenticated")
    refused(await agent.report(order, ReportKind.EXITED, exit_code=0), 401, "unauthenticated")
    ok(await again.beat())
    assert list(await again.orders()) == [order.placement_id]
    assert await small.state(workload_id) == "running"


async def test_a_key_that_is_no_key(small: Market) -> None:
    _, _, order = await small.started()
    for key in ("", "x", "gridbroker_node_" + "A" * 64):
        stranger = small.world.client(key or None)
        answer = await stranger.post(f"/api/v1/nodes/self/placements/{order.placement_id}/reports", json={})
        refused(answer, 401, "unauthenticated")
