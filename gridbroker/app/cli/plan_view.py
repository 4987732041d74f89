"""A plan and a quote as people read them."""

from collections.abc import Mapping
from typing import Any

from gridbroker.app.cli import output, words


def show(answer: Mapping[str, Any]) -> None:
    """Place, start, what it takes with ranges, second best, binding constraint, warnings, and who was rejected why."""
    plan = answer["plan"]
    best = plan["best"]
    if best is not None:
        output.fields(best_fields(plan, best), clock_factor=answer["clock_factor"])
    if plan["second"] is not None:
        output.put(f"Second best: {brief(plan['second'])}")
    if plan["binding"] is not None:
        output.put(f"Binding constraint: {binding(plan['binding'])}")
    for warning in plan["warnings"]:
        output.say(f"Warning: {warning['text']}")
    if answer["rejected"]:
        output.put()
        show_rejected(answer["rejected"])
        output.put(f"Rejected by reason: {words.counted(answer['rejected_counts'])}")


def best_fields(plan: Mapping[str, Any], best: Mapping[str, Any]) -> dict[str, object]:
    run = best["run"]
    return {
        "Place": f"{best['node_name']} in {best['zone']}, {best['gpu_model']}, GPUs {', '.join(map(str, best['gpu_indices']))}",
        "Start": f"{words.at(plan['start_at'])}, expected end {words.at(plan['end_at'])}",
        "Hours": f"{run['hours']['expected']:.3g} ({run['hours']['low']:.3g} to {run['hours']['high']:.3g})",
        "Cost": words.eur_range(run["cost_micro"]),
        "Energy": f"{words.kwh_range(run['energy_mj'])}, will be {best['energy_kind']}",
        "Emissions": f"{words.grams_range(run['emissions_mg'])}, {grid(run)}",
        "Score": score(best["score"]),
    }


def brief(candidate: Mapping[str, Any]) -> str:
    run = candidate["run"]
    return (
        f"{candidate['node_name']} in {candidate['zone']}: {words.eur(run['cost_micro']['expected'])}, "
        f"{words.kwh(run['energy_mj']['expected'])}, {words.grams(run['emissions_mg']['expected'])}, "
        f"score {candidate['score']['total']:.3f}"
    )


def grid(run: Mapping[str, Any]) -> str:
    basis = run["grid"]
    return f"grid {basis['quality']} ({basis['source']}), mean {run['mean_intensity_g_per_kwh']:.0f} g/kWh"


def score(parts: Mapping[str, float]) -> str:
    handicap = f" + tier {parts['handicap']:.3f}" if parts["handicap"] else ""
    return (
        f"{parts['total']:.3f} = carbon {parts['carbon']:.3f} + price {parts['price']:.3f} "
        f"+ utilisation {parts['utilisation']:.3f}{handicap}; lower is better"
    )


def binding(constraint: Mapping[str, Any]) -> str:
    gain = constraint["score_gain"]
    better = "" if gain is None else f", which would score {gain:.3f} better"
    return f"{constraint['reason']} keeps it from {constraint['node_name']} in {constraint['zone']}{better}"


def show_candidates(candidates: list[dict[str, Any]]) -> None:
    output.table(
        ["node", "zone", "gpu", "eur", "kwh", "gco2e", "grid", "score"],
        [
            [
                one["node_name"],
                one["zone"],
                one["gpu_model"],
                words.eur(one["run"]["cost_micro"]["expected"]),
                words.kwh(one["run"]["energy_mj"]["expected"]),
                words.grams(one["run"]["emissions_mg"]["expected"]),
                one["run"]["grid"]["quality"],
                score(one["score"]),
            ]
            for one in candidates
        ],
    )


def show_rejected(rejected: list[dict[str, Any]]) -> None:
    output.table(
        ["rejected", "zone", "reasons", "score"],
        [
            [one["node_name"], one["zone"], ", ".join(one["reasons"]), f"{one['score']['total']:.3f}" if one["score"] else None]
            for one in rejected
        ],
    )


def show_quote(view: Mapping[str, Any]) -> None:
    """What was promised at submission."""
    quote = view["quote"]
    pairs: dict[str, object] = {"Workload": view["id"], "State": view["state"], "Hold": f"{view['hold_eur']} {view['currency']}"}
    if quote is not None:
        cost = quote["cost_eur"]
        pairs |= {
            "Quote": f"{cost['expected']} EUR ({cost['low']} to {cost['high']}), rate card {quote['rate_card_version']}",
            "Energy": f"{words.kwh_range(quote['energy_mj'])}, estimated",
            "Emissions": words.grams_range(quote["emissions_mg"]),
            "Basis": quote["basis"],
        }
    output.fields(pairs, clock_factor=view["clock_factor"])
