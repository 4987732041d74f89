"""A statement as people read it: what was used, what it emitted and cost, and what that is compared with."""

from collections.abc import Mapping
from typing import Any

from gridbroker.app.cli import output, words
from gridbroker.core.money import format_micro


def show(statement: Mapping[str, Any]) -> None:
    show_totals(statement)
    output.put()
    output.table(
        ["zone", "gpu", "from", "to", "energy", "cost"],
        [_usage(one) for one in statement["usages"]],
    )
    output.put()
    output.table(
        ["baseline", "zones", "would have emitted", "avoided", "complete"],
        [_counterfactual(one) for one in statement["counterfactuals"]],
    )


def show_totals(statement: Mapping[str, Any]) -> None:
    output.fields(
        {
            "Statement": statement["statement_id"],
            "Outcome": statement["outcome"],
            "From": words.at(statement["from_at"]),
            "To": words.at(statement["to_at"]),
            "Energy": f"{words.kwh(statement['energy_mj'])} {statement['energy_kind']} at the GPUs, "
            f"{words.kwh(statement['facility_energy_mj'])} at the site",
            "Emissions": f"{words.grams(statement['emissions_mg'])}, grid {statement['grid_quality']}, location-based average",
            "Cost": f"{format_micro(int(statement['cost_micro']))} EUR",
            "Moves": statement["moves"],
            "Method": statement["method"],
        },
        clock_factor=int(statement["clock_factor"]),
    )


def _usage(one: Mapping[str, Any]) -> list[object]:
    return [
        one["zone"],
        f"{one['gpu_count']} x {one['gpu_model']}",
        words.at(one["from_at"]),
        words.at(one["to_at"]),
        words.kwh(one["energy_mj"]),
        f"{format_micro(int(one['cost_micro']))} EUR",
    ]


def _counterfactual(one: Mapping[str, Any]) -> list[object]:
    avoided = words.grams(one["avoided_mg"])
    complete = "yes" if one["complete"] else "no"
    return [one["baseline"], ", ".join(one["zones"]), words.grams(one["emissions_mg"]), avoided, complete]
