"""The documentation says what the code does: tables are compared, links resolve, nothing that a user can meet is left out."""

import dataclasses
import importlib
import pkgutil
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

import gridbroker
from gridbroker.app import asgi, metrics
from gridbroker.broker import workload
from gridbroker.core.errors import GridbrokerError
from gridbroker.core.settings import Settings
from gridbroker.identity.role import PEOPLE, Role
from gridbroker.node_agent import config
from gridbroker.settlement import charge, payout, tree

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "sdk").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
Row = tuple[str, ...]


def section(page: Path, heading: str) -> str:
    """The text under a heading, up to the next one of the same or a higher level."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = f"\n{page.read_text()}".partition(f"\n{heading}\n")
    assert found, f"{page.name} has no heading {heading!r}"
    return re.split(rf"\n#{{1,{level}}} ", rest)[0]


def table_rows(text: str) -> list[Row]:
    """The rows of every table in a text, without headings and code marks."""
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    rules = {index for index, row in enumerate(rows) if set("".join(row)) <= set("-: ")}
    headings = {index - 1 for index in rules}
    return [tuple(cell.strip().strip("`") for cell in row) for index, row in enumerate(rows) if index not in rules | headings]


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE))


def anchors(page: Path) -> set[str]:
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE), flags=re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(found), f"{page.name} links to {target}#{anchor}; {found.name} has no such heading"


def test_every_page_is_in_the_index() -> None:
    listed = set(re.findall(r"\]\(([^)]+)\)", (DOCS / "README.md").read_text()))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= listed
    records = {page.name for page in (DOCS / "decisions").glob("0*.md")}
    assert set(re.findall(r"\]\((0[^)]+)\)", (DOCS / "decisions" / "README.md").read_text())) == records


@pytest.mark.parametrize(
    ("heading", "moves"),
    [
        ("## Workload", workload.LEGAL_MOVES),
        ("## Charge", charge.LEGAL_MOVES),
        ("## Payout", payout.LEGAL_MOVES),
        ("## Receipt", tree.LEGAL_MOVES),
    ],
)
def test_state_tables(heading: str, moves: Mapping[Enum, Iterable[Enum]]) -> None:
    told = {state: set(targets.split(", ")) - {"-"} for state, _, targets in table_rows(section(DOCS / "states.md", heading))}
    assert told == {state.value: {target.value for target in targets} for state, targets in moves.items()}


def test_placement_states_and_end_reasons() -> None:
    text = section(DOCS / "states.md", "## Placement")
    rows = table_rows(text)
    states = {state.value for state in workload.PlacementState}
    assert {state for state, _, _ in rows} == states
    assert {target for _, _, targets in rows for target in targets.split(", ")} - {"-"} <= states
    assert all(f"`{reason.value}`" in text for reason in workload.EndReason)


def test_every_problem_code_is_told() -> None:
    told = [(code, int(status)) for code, status, _ in table_rows(section(DOCS / "api.md", "## Errors"))]
    assert len(told) == len(set(told)), "a code stands twice"
    assert set(told) == {(error.code, error.status) for error in errors()}


def errors() -> Iterator[type[GridbrokerError]]:
    """Every error class of the product."""
    for module in pkgutil.walk_packages(gridbroker.__path__, "gridbroker."):
        if not module.name.startswith("gridbroker.migrations") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting = [GridbrokerError]
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if error.__module__.startswith("gridbroker."):
            yield error


def test_every_route_is_told() -> None:
    told = {(method, path, roles) for method, path, roles, _ in table_rows(section(DOCS / "api.md", "## Routes"))}
    assert told == set(routes())


def routes() -> Iterator[Row]:
    """(method, path, roles as the page words them) of every handler of ours."""
    for handler in [*asgi._routes(), asgi.health, asgi.ready, asgi.metrics]:
        roles = frozenset[Role]().union(*(getattr(guard, "roles", frozenset()) for guard in handler.guards or ()))
        for path in handler.paths:
            for method in handler.http_methods:
                yield str(method), re.sub(r":\w+}", "}", path), words(roles)


def words(roles: frozenset[Role]) -> str:
    if not roles:
        return "everybody"
    if roles >= PEOPLE:
        return "all"
    return ", ".join(sorted(roles - {Role.ADMIN})) or "admin"


def test_every_server_setting_is_told() -> None:
    told = {name: default for name, default, _ in table_rows(section(DOCS / "operations.md", "### Server"))}
    expected = {f"GRIDBROKER_{field.name.upper()}": shown(field.default) for field in dataclasses.fields(Settings)}
    expected["GRIDBROKER_DATA_DIR"] = "the user's data folder"
    assert told == expected


def test_every_agent_setting_is_told() -> None:
    shared = {f"GRIDBROKER_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    told = {name: default for name, default, _ in table_rows(section(DOCS / "operations.md", "### Agent"))}
    fields = {f"GRIDBROKER_{field.name.upper()}": field.default for field in dataclasses.fields(config.AgentConfig)}
    own = {name: shown(default) for name, default in fields.items() if name not in shared | {"GRIDBROKER_BASE_ENVIRONMENT"}}
    own |= {"GRIDBROKER_SERVER_URL": "required", "GRIDBROKER_STATE_DIR": "~/.local/share/gridbroker/agent"}
    assert told == own


def shown(default: object) -> str:
    if default is None or default == "" or default is dataclasses.MISSING:
        return "-"
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_every_variable_in_the_code_is_told() -> None:
    files = [ROOT / "dev", *(path for folder in ("gridbroker", "sdk") for path in (ROOT / folder).rglob("*.py"))]
    used = {name for file in files for name in re.findall(r"\bGRIDBROKER_[A-Z]+(?:_[A-Z]+)*\b", file.read_text())}
    told = "\n".join((DOCS / name).read_text() for name in ("operations.md", "checkpoint.md"))
    assert {name for name in used if f"`{name}`" not in told} == set()


def test_every_metric_is_told() -> None:
    told = {name for name, _ in table_rows(section(DOCS / "operations.md", "## Metrics"))}
    ours = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    names = {family.name + ("_total" if family.type == "counter" else "") for one in ours for family in one.describe()}
    assert told == names


def test_every_dependency_has_its_paragraph() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    wanted = [requirement for one in (*lists, *project["dependency-groups"].values()) for requirement in one]
    names = {re.split(r"[^A-Za-z0-9-]", requirement)[0].lower() for requirement in wanted}
    told = set(re.findall(r"\*\*([a-z0-9-]+)\*\*", (DOCS / "decisions" / "0012-dependencies.md").read_text()))
    assert names - told == set()
