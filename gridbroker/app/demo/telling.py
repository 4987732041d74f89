"""The demonstration in words: to stdout, or to stderr when stdout carries the JSON summary. No colour without a terminal."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gridbroker.app.cli.words import at, eur, eur_range, grams, grams_range, kwh, kwh_range
from gridbroker.app.demo.proof import Receipt, Steps
from gridbroker.app.demo.times import FACTOR, Stage

SIMULATED = f"simulated time x{FACTOR}"


class Teller:
    def __init__(self, *, to_stderr: bool) -> None:
        width = None if sys.stdout.isatty() else 200
        self.console = Console(stderr=to_stderr, highlight=False, emoji=False, soft_wrap=True, width=width)

    def head(self, text: str) -> None:
        self.console.print(f"\n[bold]{escape(text)}[/bold]")

    def line(self, text: str) -> None:
        self.console.print("  " + escape(text))

    def lines(self, texts: Sequence[str]) -> None:
        for text in texts:
            self.line(text)

    def bar(self) -> Progress:
        """A live progress bar; silent where nobody watches."""
        columns = (TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn())
        return Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)

    # --- one method for each thing that is shown -----------------------------------------------------------------------

    def opening(self, stage: Stage, data_dir: str) -> None:
        self.head("Gridbroker demonstration")
        kind = (
            "a MODELLED typical day, not a record of any day"
            if stage.grid_kind == "modelled"
            else f"replayed from {stage.grid_source}"
        )
        self.lines(
            [
                f"grid: {kind}; nodes in {', '.join(stage.zones)}; it begins at {stage.starts_at:%Y-%m-%d %H:%M} UTC",
                f"{SIMULATED}: energy, cost and dwell are scaled by that factor, in every figure below",
                "energy: MODELLED from the GPU catalogue's idle and highest power; the training itself is real",
                f"data folder: {data_dir}",
            ]
        )

    def plan(self, answer: Mapping[str, Any]) -> None:
        self.head(f"1. The plan, before anything is written ({SIMULATED}, grid {self._quality(answer)})")
        plan, best = answer["plan"], answer["plan"]["best"]
        if best is None:
            self.line("no place: " + ", ".join(f"{reason} {count}" for reason, count in answer["rejected_counts"].items()))
            return
        run = best["run"]
        self.lines(
            [
                f"place    {best['node_name']} in {best['zone']}",
                f"start    {at(plan['start_at'])}, for about {run['hours']['expected']:.1f} h",
                f"cost     {eur_range(run['cost_micro'])}",
                f"energy   {kwh_range(run['energy_mj'])}, modelled",
                f"carbon   {grams_range(run['emissions_mg'])}, at a mean of {run['mean_intensity_g_per_kwh']:.0f} g/kWh",
                f"forecast {run['grid']['method']}",
                f"score    {_score(best['score'])}",
                f"second   {_second(plan['second'])}",
                f"binding  {_binding(plan['binding'])}",
            ]
        )
        self.lines([f"note     {warning['text']}" for warning in plan["warnings"]])

    def decision(self, decision: Mapping[str, Any]) -> None:
        self.head(f"2. The routing decision {decision['id']} ({decision['policy_version']}, {SIMULATED})")
        route = decision["body"]["route"]
        for rank, one in enumerate(route["candidates"], 1):
            self.line(f"{rank}. {one['node_name']:12} {one['zone']:4} {_score(one['score'])}")
        for one in route["rejected"]:
            self.line(f"-  {one['node_name']:12} {one['zone']:4} rejected: {', '.join(one['reasons'])}")
        if not route["rejected"]:
            self.line("no node was rejected")

    def move(self, decision: Mapping[str, Any]) -> None:
        self.head(
            f"Move: the sum at {at(decision['decided_at'])} ({SIMULATED}; energy modelled, forecasts {self._outlook(decision)})"
        )
        self.lines(decision["body"]["sum"])

    def no_move(self, decisions: Sequence[Mapping[str, Any]]) -> None:
        reviews = [decision for decision in decisions if decision["kind"] == "review"]
        reason = reviews[0]["body"]["assessment"]["reason"] if reviews else "no review was due"
        self.head(f"No move: on this trace none paid (last review: {reason})")

    def statement(self, statement: Mapping[str, Any]) -> None:
        self.head(
            f"4. The statement ({SIMULATED}; energy {statement['energy_kind']}, grid {statement['grid_quality']}, "
            f"{statement['method']})"
        )
        for usage in statement["usages"]:
            self.line(
                f"{usage['zone']:4} {at(usage['from_at'])} to {at(usage['to_at'])}  {kwh(usage['energy_mj'])}  "
                f"{eur(int(usage['cost_micro']))}"
            )
        self.line(
            f"sum  {kwh(statement['energy_mj'])} at the GPU, {kwh(statement['facility_energy_mj'])} at the meter (PUE), "
            f"{grams(statement['emissions_mg'])}, {eur(int(statement['cost_micro']))}, {statement['moves']} moves"
        )

    def money(
        self, entries: Sequence[Mapping[str, Any]], charges: Sequence[Mapping[str, Any]], payouts: Sequence[Mapping[str, Any]]
    ) -> None:
        self.head(f"5. The money (ledger of the customer, oldest first; amounts of {SIMULATED})")
        for entry in entries:
            self.line(f"{entry['kind']:8} {entry['purpose']:14} {entry['amount']:>12} EUR  {entry['debit']} -> {entry['credit']}")
        for charge in charges:
            self.line(f"charge   {charge['method']:14} {charge['amount']:>12} EUR  {charge['state']}")
        for payout in payouts:
            self.line(f"payout   {payout['destination'][:14]:14} {payout['amount']:>12} EUR  {payout['state']}")

    def receipt(self, receipt: Receipt) -> None:
        subject = receipt.document["credentialSubject"]
        self.head(
            f"6. The carbon receipt ({SIMULATED}; energy {subject['energy']['kind']}, grid {subject['emissions']['gridQuality']})"
        )
        self.line(f"emitted {grams(subject['emissions']['locationBasedMg'])}, location-based, average, life cycle")
        for one in subject["counterfactuals"]:
            share = _share(int(one["avoidedMg"]), int(one["emissionsMg"]))
            self.line(
                f"against {one['baseline']:17} ({', '.join(one['zones'])}): {grams(one['emissionsMg'])}, "
                f"avoided {grams(one['avoidedMg'])} ({share})"
            )
        self.line("avoided is signed and never clipped: below zero the baseline would have been cleaner")
        self.line(f"saved as {receipt.file}")
        self.head("7. Verified by a separate process without database or server")
        for check in receipt.checks:
            self.line(f"{'ok  ' if check['ok'] else 'FAIL'} {check['name']:16} {check['detail']}")

    def steps(self, steps: Steps) -> None:
        self.line(
            f"training: {steps.final} steps, {steps.lost} lost, {steps.repeated} repeated; "
            + (
                "the weights are bit for bit those of an uninterrupted run"
                if steps.same_result
                else "the weights DIFFER from an uninterrupted run"
            )
        )

    def _quality(self, answer: Mapping[str, Any]) -> str:
        best = answer["plan"]["best"]
        return str(best["run"]["grid"]["quality"]) if best else "unknown"

    def _outlook(self, decision: Mapping[str, Any]) -> str:
        target = decision["body"]["assessment"]["best"]
        return str(target["target"]["run"]["grid"]["method"]) if target else "none"


def _score(score: Mapping[str, float]) -> str:
    parts = ", ".join(f"{name} {score[name]:.3f}" for name in ("carbon", "price", "utilisation"))
    return f"score {score['total']:.3f} = {parts}" + (f", handicap {score['handicap']:.3f}" if score.get("handicap") else "")


def _second(second: Mapping[str, Any] | None) -> str:
    if second is None:
        return "none"
    return (
        f"{second['node_name']} in {second['zone']}: {grams(second['run']['emissions_mg']['expected'])}, {_score(second['score'])}"
    )


def _binding(binding: Mapping[str, Any] | None) -> str:
    return "none: nothing stands before a better place" if binding is None else f"{binding['reason']} at {binding['node_name']}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:+.0%}" if whole else "of nothing"
