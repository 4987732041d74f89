"""The command line's entry. Commands import what is heavy when they run, so `gridbroker --help` stays quick."""

import sys
from collections.abc import Sequence

import typer
import typer.main

from gridbroker.app.cli import account, db, keys, ledger, nodes, offers, processes, receipts, submit, tools, up, workloads
from gridbroker.app.cli.exits import Exit

app = typer.Typer(
    name="gridbroker",
    help="Places GPU workloads where power is clean and cheap, meters them, and proves the carbon.",
    epilog="Exit codes and configuration: docs/cli.md.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

for _command in (up.up, tools.demo, account.login, account.logout, account.whoami, submit.plan, submit.run):
    app.command()(_command)
for _name, _group in (("workloads", workloads.app), ("nodes", nodes.app), ("receipts", receipts.app), ("ledger", ledger.app)):
    app.add_typer(_group, name=_name)
app.add_typer(receipts.app, name="receipt", hidden=True)
for _command in (offers.offers, offers.zones):
    app.command()(_command)
for _name, _group in (("keys", keys.app), ("orgs", keys.orgs), ("db", db.app)):
    app.add_typer(_group, name=_name)
for _command in (processes.api, processes.worker, processes.scheduler, processes.agent, tools.seed, tools.doctor, tools.version):
    app.command()(_command)


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """One command line; its exit code. Refusals have been said by then."""
    try:
        typer.main.get_command(app).main(args=list(arguments), prog_name="gridbroker")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.FAILURE if end.code else Exit.OK
    except Exception as error:  # noqa: BLE001 - whoever knows it says it; what nobody knows is raised again
        from gridbroker.app.cli.failures import report  # noqa: PLC0415 - not needed while all goes well

        return report(error, as_json=_wants_json(arguments))
    return Exit.OK


def _wants_json(arguments: Sequence[str]) -> bool:
    """Asked of the words themselves, because a failure may come before they are parsed. After `--` they are the workload's."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in own


if __name__ == "__main__":
    main()
