"""Every command, whatever it does: help, --json, documentation; and a quick start."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from gridbroker.app.cli.main import app

DOCS = (Path(__file__).parents[4] / "docs" / "cli.md").read_text()


def _leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from _leaves(child, (*path, name))


TREE = typer.main.get_command(app)
LEAVES = dict(_leaves(TREE))
WANTED = """up demo api worker scheduler agent seed login whoami plan run offers zones doctor version
db upgrade, db revision, db check, workloads list, workloads show, workloads logs, workloads cancel, workloads route,
workloads complete, nodes token, nodes list, nodes show, nodes drain, nodes undrain, receipts list, receipts show, receipts proof,
receipts verify, receipt verify, ledger balance, ledger entries, ledger charges, ledger payouts, ledger topup, keys create,
keys list, keys rotate, keys revoke, orgs create, orgs list"""


def test_the_commands_that_were_promised_are_there():
    singles, pairs = WANTED.split("\n", 1)
    wanted = {(name,) for name in singles.split()} | {tuple(name.split()) for name in pairs.split(",")}
    assert wanted <= set(LEAVES)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_help_and_json(path: tuple[str, ...], offline: Callable):
    said = offline(*path, "-h")
    assert said.code == 0
    assert "--json" in said.out and "\x1b" not in said.out
    assert LEAVES[path].help and said.out == offline(*path, "--help").out


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_no_command_takes_a_key_as_a_flag(path: tuple[str, ...]):
    flags = {flag for parameter in LEAVES[path].params for flag in parameter.opts}
    assert "--api-key" not in flags
    assert "--key" not in flags or path[-1] == "verify"  # there it is the issuer's public one


@pytest.mark.parametrize("path", [path for path in LEAVES if path[0] != "receipt"], ids=" ".join)
def test_every_command_is_documented(path: tuple[str, ...]):
    assert f"`{' '.join(path)}" in DOCS


def test_no_arguments_and_wrong_ones_are_usage_errors(offline: Callable):
    assert offline().code == 2
    assert offline("no-such-command").code == 2
    assert offline("workloads", "show", "not-an-id").code == 2
    assert offline("version", "--no-such-flag").code == 2


def test_the_shell_can_complete():
    script = subprocess.run(
        [sys.executable, "-P", "-m", "gridbroker.app.cli.main"],
        env={"_GRIDBROKER_COMPLETE": "complete_bash", "COMP_WORDS": "gridbroker work", "COMP_CWORD": "1", "PATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert script.stdout.split() == ["worker", "workloads"]


def test_help_loads_nothing_heavy():
    heavy = ("httpx", "litestar", "sqlalchemy", "rich.table", "alembic", "structlog")
    code = f"""
import sys
from gridbroker.app.cli.main import run
run(["--help"])
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
