"""`gridbroker ledger`: balance, top-ups, entries, charges, payouts."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import typer

from gridbroker.app.cli import output, session, words
from gridbroker.app.cli.config import DEFAULT_PROFILE
from gridbroker.app.cli.options import AsJson, Limit, ProfileName, Url, WorkloadFilter

app = typer.Typer(help="Your money: wallet, entries, charges, payouts.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def balance(as_json: AsJson = False, url: Url = None, profile: ProfileName = DEFAULT_PROFILE) -> None:
    """Show what the wallet can spend, and what is held for workloads."""
    with session.connect(profile, url) as client:
        wallet = client.wallet()
    if as_json:
        output.put_json(wallet)
        return
    names = {"Available": "available", "Held": "held", "Posted": "posted"}
    shown = {label: f"{wallet[name]} {wallet['currency']}" for label, name in names.items()}
    output.fields(shown, clock_factor=client.clock_factor)


@app.command()
def topup(
    amount: Annotated[str, typer.Argument(help="Decimal amount, for example 25.00.", show_default=False)],
    currency: Annotated[str, typer.Option("--currency")] = "EUR",
    payment_method: Annotated[str, typer.Option("--payment-method", help="Token of the card to charge.")] = "pm_card_visa",
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Charges once however often it is used.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """Charge a card into the wallet."""
    with session.connect(profile, url) as client:
        charge = client.top_up(amount, currency, payment_method, idempotency_key=idempotency_key)
    if as_json:
        output.put_json(charge)
        return
    output.fields({"Charge": charge["id"], "State": charge["state"], "Amount": f"{charge['amount']} {charge['currency']}"})
    output.say("The wallet has it once the charge is paid: gridbroker ledger charges")


@app.command()
def entries(
    reference: Annotated[
        UUID | None, typer.Option("--reference", help="Only of this workload, charge or payout.", show_default=False)
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """List transfers that touch your accounts, newest first."""
    with session.connect(profile, url) as client:
        found = client.listing("/api/v1/ledger/entries", {"reference": reference}, limit=limit)
    output.listing(
        found,
        ["seq", "at", "kind", "purpose", "debit", "credit", "amount", "reference"],
        _entry,
        as_json=as_json,
        hint="No entries. Money comes in with: gridbroker ledger topup AMOUNT",
        clock_factor=client.clock_factor,
    )


@app.command()
def charges(
    workload: WorkloadFilter = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """List what was charged: top-ups and settled workloads, newest first."""
    with session.connect(profile, url) as client:
        found = client.listing("/api/v1/charges", {"workload_id": workload}, limit=limit)
    output.listing(
        found,
        ["id", "method", "state", "amount", "workload", "created", "ended"],
        lambda one: [one["id"], one["method"], *_movement(one)],
        as_json=as_json,
        hint="No charges.",
        clock_factor=client.clock_factor,
    )


@app.command()
def payouts(
    workload: WorkloadFilter = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    url: Url = None,
    profile: ProfileName = DEFAULT_PROFILE,
) -> None:
    """List what was earned as a provider, newest first."""
    with session.connect(profile, url) as client:
        found = client.listing("/api/v1/payouts", {"workload_id": workload}, limit=limit)
    output.listing(
        found,
        ["id", "to", "state", "amount", "workload", "created", "ended"],
        lambda one: [one["id"], one["destination"], *_movement(one)],
        as_json=as_json,
        hint="No payouts. Each workload that ran on your nodes makes one when it has ended.",
        clock_factor=client.clock_factor,
    )


def _movement(one: Mapping[str, Any]) -> list[object]:
    state = f"{one['state']} ({one['state_reason']})" if one["state_reason"] else one["state"]
    amount = f"{one['amount']} {one['currency']}"
    return [state, amount, one["workload_id"], words.at(one["created_at"]), words.at(one["ended_at"])]


def _entry(one: Mapping[str, Any]) -> list[object]:
    amount = f"{one['amount']} {one['currency']}"
    at = words.at(one["recorded_at"])
    return [one["seq"], at, one["kind"], one["purpose"], one["debit"], one["credit"], amount, one["reference"]]
