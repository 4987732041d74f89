"""Commands against answers made of the API's own views: what they print, for people and for programs."""

import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest

from gridbroker.app.cli import main
from gridbroker.broker.policy import DEFAULT_POLICY
from gridbroker.broker.preview import preview
from gridbroker.broker.routes.plans import PlanView
from gridbroker.broker.routes.views import AmountRange, PlacementView, Progress, QuoteView, WorkloadView
from gridbroker.broker.service.market import as_body
from gridbroker.core.money import Currency
from gridbroker.grid.routes import CurrentView, ZoneView
from gridbroker.grid.signal import Averaging, Quality, Scope
from gridbroker.grid.surplus import SurplusFlag
from gridbroker.providers.node import Health
from gridbroker.providers.routes import NodeDetail
from gridbroker.settlement.routes import ChargeView, EntryView, PayoutView, ProofView, ReceiptView, WalletView
from tests.unit.app.cli.conftest import KEY, Broker
from tests.unit.broker.facts import node, outlook, outlooks, routed, workload
from tests.unit.settlement.build import statement

ID, OTHER = UUID(int=1), UUID(int=2)
AT = datetime(2026, 3, 20, 12, tzinfo=UTC)
ONE = f"/api/v1/workloads/{ID}"
RUN = ("run", "--name", "x", "--budget", "12.50", "--hours", "2", "--gpu", "H100", "--", "python", "train.py")


def view(state: str = "running", *, factor: int = 1, step: int = 50, **changes: object) -> WorkloadView:
    placement = PlacementView(
        ID, 1, OTHER, "node-a", "FR", "H100", [0], "2.40", "running", None, OTHER, None, AT, AT, None, None, None
    )
    ends = AmountRange("1000000", "3600000000", "7200000000")
    quote = QuoteView(ID, "2026-03", AmountRange("1.00", "2.00", "3.00"), ends, ends, "12.50", AT, "an estimate")
    values: dict = {
        "id": ID, "name": "train", "state": state, "state_reason": None, "progress": Progress(step, 100, step / 100),
        "placements": [placement], "cost_eur": "1.25", "hold_eur": "12.50", "currency": Currency.EUR, "energy_mj": "3600000000",
        "moves": 1, "restarts": 0, "submitted_at": AT, "started_at": AT, "ended_at": None, "spec": {}, "quote": quote,
        "clock_factor": factor,
    }  # fmt: skip
    return WorkloadView(**({"energy_kind": None} | values | changes))


def plan_answer(*, factor: int = 1, dirty: bool = False) -> PlanView:
    asked = workload(expected_hours=2.0, allowed_zones=("FR", "ES"), max_intensity_g_per_kwh=10.0 if dirty else None)
    fleet = [node("fr", "FR"), node("es", "ES", energy_kind="modelled"), node("pt", "PT")]
    route = routed(asked, fleet, outlooks(outlook("FR", 40), outlook("ES", 150), outlook("PT", 30)))
    found = preview(asked, route, DEFAULT_POLICY)
    return PlanView(
        found.feasible, as_body(found), [as_body(one) for one in route.candidates], [as_body(one) for one in route.rejected],
        route.rejected_counts, factor,
    )  # fmt: skip


def test_a_plan_shows_all_that_was_promised(cli: Callable, broker: Broker):
    broker.says("POST", "/api/v1/plans", plan_answer(factor=60))
    said = cli("plan", *RUN[1:])
    assert said.code == 0
    for part in (
        "simulated time x60", "fr in FR", "2026-03-20 12:00:00Z", "EUR (", "kWh (", "measured", "gCO2e (", "grid measured",
        "Second best: es in ES", "Binding constraint: zone_not_allowed keeps it from pt in PT", "zone_not_allowed 1", "carbon",
    ):  # fmt: skip
        assert part in said.out, part
    assert "Warning: " in said.err and "Warning" not in said.out
    sent = msgspec.json.decode(broker.requests[0][3])
    assert sent["command"] == ["python", "train.py"] and sent["gpu_model"] == "H100" and sent["expected_hours"] == 2


def test_a_plan_without_a_place_exits_with_1(cli: Callable, broker: Broker):
    broker.says("POST", "/api/v1/plans", plan_answer(dirty=True))
    said = cli("plan", *RUN[1:])
    assert said.code == 1 and "too_dirty" in said.out
    assert cli("plan", "--json", *RUN[1:]).json["feasible"] is False


def test_run_shows_the_quote_and_follows_to_the_end(cli: Callable, broker: Broker):
    broker.says("POST", "/api/v1/workloads", view("submitted", factor=60, placements=[]), 201)
    broker.says("GET", ONE, view("completed", factor=60))
    said = cli(*RUN)
    assert said.code == 0
    assert "Hold       12.50 EUR" in said.out and "2.00 EUR (1.00 to 3.00)" in said.out and "simulated time x60" in said.out
    assert "completed on node-a in FR step 50/100 1.25 EUR, 1 kWh" in said.err
    assert UUID(broker.requests[0][2]["Idempotency-Key"]).version == 4


@pytest.mark.parametrize(("state", "code"), [("completed", 0), ("failed", 1), ("cancelled", 1)])
def test_run_exits_with_how_it_ended_and_prints_one_document(cli: Callable, broker: Broker, state: str, code: int):
    broker.says("POST", "/api/v1/workloads", view("submitted"), 201)
    broker.says("GET", ONE, view(state))
    said = cli("run", "--json", *RUN[1:])
    assert (said.code, said.json["state"], said.err) == (code, state, "")


def test_on_a_terminal_the_run_is_a_live_bar(cli: Callable, broker: Broker, monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", Terminal())
    broker.says("POST", "/api/v1/workloads", view("submitted"), 201)
    broker.says("GET", ONE, [view("running", state_reason="[red]x\x1b[2J"), view("completed", step=100)])
    said = cli(*RUN)
    screen = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert said.code == 0 and "step 50/100" in screen and "━" in screen
    assert "[red]x?[2J" in screen and "\x1b[2J" not in screen
    assert screen.endswith("completed on node-a in FR step 100/100 1.25 EUR, 1 kWh\n")


def test_run_can_return_at_once_or_when_it_runs(cli: Callable, broker: Broker):
    broker.says("POST", "/api/v1/workloads", view("submitted"), 201)
    assert cli("run", "--detach", "--json", *RUN[1:]).json["state"] == "submitted"
    broker.says("GET", ONE, view("running"))
    assert cli("run", "--until", "running", "--json", *RUN[1:]).json["state"] == "running"


def test_ctrl_c_stops_following_and_says_that_it_goes_on(cli: Callable, broker: Broker, config_home):
    broker.says("POST", "/api/v1/workloads", view("submitted"), 201)
    broker.says("GET", ONE, view("running"))
    environment = {"GRIDBROKER_URL": broker.url, "GRIDBROKER_API_KEY": KEY, "XDG_CONFIG_HOME": str(config_home.parent)}
    command = [sys.executable, "-P", "-m", main.__name__, *RUN]
    following = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not any(path == ONE for _, path, _, _ in broker.requests) and time.monotonic() < deadline:
        time.sleep(0.02)
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=10)
    assert following.returncode == 130 and "it goes on" in err and KEY not in err


def test_a_list_is_a_table_a_document_or_a_hint(cli: Callable, broker: Broker):
    broker.says("GET", "/api/v1/workloads", {"data": [view(), view(factor=60)], "next_cursor": None})
    said = cli("workloads", "list", "--state", "running")
    assert said.out.startswith("simulated time x60") and str(ID) in said.out and "\x1b" not in said.out
    assert "state=running" in broker.requests[0][1]
    document = cli("workloads", "list", "--json").json
    assert len(document["data"]) == 2 and document["truncated"] is False
    assert "There are more" in cli("workloads", "list", "--limit", "1").err
    broker.says("GET", "/api/v1/workloads", {"data": [], "next_cursor": None})
    said = cli("workloads", "list")
    assert said.out == "" and "gridbroker run" in said.err


def test_show_has_placements_and_for_an_ended_one_kinds_of_energy_and_grid(cli: Callable, broker: Broker):
    broker.says("GET", ONE, view(state_reason="thinking"))
    said = cli("workloads", "show", str(ID))
    assert "running (thinking) on node-a in FR" in said.out and "1 x H100" in said.out
    broker.says("GET", ONE, view("completed"))
    broker.says("GET", f"/api/v1/statements/{ID}", statement())
    said = cli("workloads", "show", str(ID))
    assert "kWh modelled at the GPUs" in said.out and "grid modelled" in said.out


def test_a_statement_names_its_baselines(cli: Callable, broker: Broker):
    broker.says("GET", f"/api/v1/statements/{ID}", statement())
    said = cli("workloads", "statement", str(ID))
    assert said.out.startswith("simulated time x60") and "home_zone" in said.out and "1.500001 EUR" in said.out


def test_logs_follow_as_json_lines(cli: Callable, broker: Broker):
    line = {"placement": 1, "seq": 1, "at": AT, "stream": "stdout", "text": "step 1\x1b[2J\n"}
    broker.says("GET", f"{ONE}/logs", {"data": [line], "next": "1.1", "ended": True})
    assert cli("workloads", "logs", str(ID)).out == "step 1?[2J\n"
    lines = cli("workloads", "logs", "--follow", "--json", str(ID)).out.splitlines()
    assert [msgspec.json.decode(one)["text"] for one in lines] == [line["text"]]
    assert cli("workloads", "logs", "--json", str(ID)).json["next"] == "1.1"


def test_decisions_show_candidates_rejections_and_the_sum_of_a_move(cli: Callable, broker: Broker):
    asked = workload(expected_hours=2.0, allowed_zones=("FR",))
    route = routed(asked, [node("fr", "FR"), node("pt", "PT")], outlooks(outlook("FR", 40), outlook("PT", 30)))
    decision = {
        "id": ID, "kind": "review", "outcome": "stay", "chosen_node_id": None, "decided_at": AT, "policy_version": "p/1",
        "snapshot": "s", "inputs": {}, "body": {"route": as_body(route), "sum": ["cost of moving: 1"]},
    }  # fmt: skip
    broker.says("GET", f"{ONE}/decisions", {"data": [decision], "next_cursor": None})
    said = cli("workloads", "decisions", str(ID))
    for part in ("review: stay", "cost of moving: 1", "fr", "carbon", "zone_not_allowed"):
        assert part in said.out


@pytest.mark.parametrize("action", ["route", "cancel", "complete"])
def test_actions_tell_the_new_state(cli: Callable, broker: Broker, action: str):
    broker.says("POST", f"{ONE}/{action}", view("stopping", placements=[]), 202)
    said = cli("workloads", action, str(ID))
    assert said.code == 0 and said.err.startswith("stopping")
    assert cli("workloads", action, str(ID), "--json").json["state"] == "stopping"


def detail() -> NodeDetail:
    return NodeDetail(
        id=ID, org_id=OTHER, name="node-a", zone="FR", tier="datacenter", gpu_model="H100", gpu_count=2, free_gpus=(0,),
        price_eur_per_gpu_hour="2.40", pue=1.2, energy_kind="measured", backends=("process",), health=Health.HEALTHY, draining=True,
        last_seen_at=AT, utilisation=0.5, spool_backlog=0, failing_checks=(), version=1, created_at=AT, checks=(),
    )  # fmt: skip


def test_nodes(cli: Callable, broker: Broker):
    broker.headers["X-Clock-Factor"] = "60"
    broker.says("GET", "/api/v1/nodes", {"data": [detail()], "next_cursor": None})
    broker.says("GET", f"/api/v1/nodes/{ID}", detail())
    broker.says("POST", f"/api/v1/nodes/{ID}/drain", detail())
    broker.says("POST", f"/api/v1/nodes/{ID}/undrain", detail())
    said = cli("nodes", "list")
    assert said.out.startswith("simulated time x60") and "2 x H100" in said.out and "healthy, draining" in said.out
    for command in ("show", "drain", "undrain"):
        assert "node-a" in cli("nodes", command, str(ID)).out
        assert cli("nodes", command, str(ID), "--json").json["name"] == "node-a"


@pytest.mark.parametrize(
    ("command", "path", "field"),
    [
        (("nodes", "token"), "/api/v1/node-tokens", "token"),
        (("keys", "create", "--name", "ci", "--role", "developer"), "/api/v1/keys", "secret"),
        (("keys", "rotate", str(ID)), f"/api/v1/keys/{ID}/rotate", "secret"),
    ],
)
def test_a_secret_stands_alone_on_stdout_and_a_lost_one_is_a_failure(
    cli: Callable, broker: Broker, command: tuple[str, ...], path: str, field: str
):
    broker.says("POST", path, {"id": ID, field: "s3cret", "expires_at": AT}, 201)
    said = cli(*command)
    assert said.out == "s3cret\n" and "only time" in said.err
    assert cli(*command, "--json").json[field] == "s3cret"
    broker.says("POST", path, {"id": ID, field: None, "expires_at": AT}, 201)
    said = cli(*command)
    assert said.code == 5 and said.out == ""


def test_money(cli: Callable, broker: Broker):
    broker.says("GET", "/api/v1/wallet", WalletView("10.00", "2.50", "12.50", "EUR"))
    charge = ChargeView(ID, "card", "due", "card_declined", "25.00", "EUR", None, None, AT, None)  # type: ignore[arg-type]
    broker.says("GET", "/api/v1/charges", {"data": [charge]})
    broker.says("POST", "/api/v1/wallet/top-ups", charge, 201)
    payout = PayoutView(ID, "paid", None, "1.00", "EUR", OTHER, "acct_1", "tr_1", AT, AT)  # type: ignore[arg-type]
    broker.says("GET", "/api/v1/payouts", {"data": [payout]})
    entry = EntryView(ID, 1, "single", "top_up", OTHER, "a", "b", "25.00", "EUR", None, AT)  # type: ignore[arg-type]
    broker.says("GET", "/api/v1/ledger/entries", {"data": [entry]})
    assert "Held       2.50 EUR" in cli("ledger", "balance").out
    assert "due (card_declined)" in cli("ledger", "charges", "--workload", str(ID)).out
    assert f"workload_id={ID}" in broker.requests[-1][1]
    assert "25.00 EUR" in cli("ledger", "topup", "25.00").out
    sent = msgspec.json.decode(broker.requests[-1][3])
    assert sent == {"amount": "25.00", "currency": "EUR", "payment_method": "pm_card_visa"}
    assert "acct_1" in cli("ledger", "payouts").out
    assert "25.00 EUR" in cli("ledger", "entries").out


def test_receipts(cli: Callable, broker: Broker, tmp_path):
    document = b'{"credentialSubject":{"clockFactor":"60"}}'
    broker.says("GET", "/api/v1/receipts", {"data": [ReceiptView(ID, OTHER, OTHER, "signed", "00", AT)]})  # type: ignore[arg-type]
    broker.says("GET", f"/api/v1/receipts/{ID}", document)
    proof = ProofView(ID, "aa", 0, [], OTHER, 1, 1, "bb", "cc", "gridbroker:x", None)
    broker.says("GET", f"/api/v1/receipts/{ID}/proof", proof)
    assert "signed" in cli("receipts", "list").out
    assert cli("receipts", "show", str(ID), "--json").out == document.decode() + "\n"
    assert cli("receipts", "show", str(ID), "-o", str(tmp_path / "r.json")).code == 0
    assert (tmp_path / "r.json").read_bytes() == document
    assert "not yet" in cli("receipts", "proof", str(ID)).out
    assert cli("receipts", "proof", str(ID), "-o", str(tmp_path / "p.json"), "--json").json["file"].endswith("p.json")
    assert msgspec.json.decode((tmp_path / "p.json").read_bytes())["memo"] == "gridbroker:x"


def test_a_file_that_cannot_be_written_is_a_failure_without_a_traceback(cli: Callable, broker: Broker):
    broker.says("GET", f"/api/v1/receipts/{ID}", b"{}")
    said = cli("receipts", "show", str(ID), "-o", "/nowhere/r.json")
    assert said.code == 1 and "No such file" in said.err and "Traceback" not in said.err


def test_zones_show_the_quality_of_what_is_known_and_gaps_as_gaps(cli: Callable, broker: Broker):
    now = CurrentView(AT, 29.4, "typical", Quality.MODELLED, Averaging.AVERAGE, Scope.LIFECYCLE, unit="gCO2e/kWh", age_s=0)
    known = ZoneView("FR", "France", "FR", "Europe/Paris", 46.6, 2.4, "EUR", now, None, None, [SurplusFlag.LOW_CARBON])
    broker.says("GET", "/api/v1/grid/zones", {"data": [known]})
    assert "FR    France" in cli("zones").out
    assert "modelled (typical)" in cli("zones").out
    assert cli("zones", "--json").json["data"][0]["price"] is None


def test_version(offline: Callable):
    assert offline("version").out.strip() == offline("version", "--json").json["version"]
