"""The house's rules that import-linter cannot state: purity, vendor homes, sizes, guards."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gridbroker"
CONTEXTS = {"identity", "grid", "providers", "metering", "pricing", "settlement", "broker"}
SHELL = {"models", "repository", "service", "tasks", "routes", "guards", "idempotency"}
ADAPTERS = {"sources", "backends", "rails"}
PURE_CORE = {"money", "units", "ids", "errors"}
IMPURE = {
    "sqlalchemy", "asyncpg", "litestar", "dramatiq", "redis", "httpx", "stripe", "solders", "pynvml", "asyncio", "socket", "os",
    "time", "random", "secrets", "subprocess", "threading", "granian", "alembic", "structlog",
}  # fmt: skip
ONE_HOME = {
    "stripe": {"settlement/rails/stripe.py"},
    "solders": {"settlement/rails/solana.py"},
    "pynvml": {"node_agent/nvml.py"},
    "ortools": {"broker/packing.py"},
    "granian": {"app/cli/serve.py"},
}
FUNCTION_MAX_LINES, FILE_MAX_LINES = 60, 400
FILES = sorted(PACKAGE.rglob("*.py"))


def _relative(path: Path) -> Path:
    return path.relative_to(PACKAGE)


def _is_pure(path: Path) -> bool:
    parts = _relative(path).with_suffix("").parts
    if parts[0] == "core":
        return parts[-1] in PURE_CORE
    return parts[0] in CONTEXTS and not set(parts[1:]) & (SHELL | ADAPTERS) and parts[-1] != "__init__"


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _problems(path: Path) -> Iterator[str]:
    text = path.read_text()
    tree = ast.parse(text)
    yield from _import_problems(path, tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.AsyncFunctionDef) and _is_pure(path):
            yield f"async {node.name} in a pure module"
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_MAX_LINES and "migrations" not in path.parts:
            yield f"{node.name} has {lines} lines"
    if text.count("\n") > FILE_MAX_LINES:
        yield f"{text.count(chr(10))} lines"


def _import_problems(path: Path, tree: ast.AST) -> Iterator[str]:
    here = _relative(path).as_posix()
    for name in _imports(tree):
        root, *rest = name.split(".")
        if root in ONE_HOME and here not in ONE_HOME[root]:
            yield f"{name}: only in {ONE_HOME[root]}"
        if not _is_pure(path):
            continue
        if root in IMPURE:
            yield f"{name}: not pure"
        if root == "gridbroker" and rest[0] == "core" and rest[1] not in PURE_CORE:
            yield f"{name}: not pure"
        if root == "gridbroker" and rest[0] in CONTEXTS and set(rest[1:]) & (SHELL | ADAPTERS):
            yield f"{name}: not pure"


@pytest.mark.parametrize("path", FILES, ids=lambda path: _relative(path).as_posix())
def test_file_keeps_the_rules(path: Path) -> None:
    assert list(_problems(path)) == []


def test_the_rules_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    bad = tmp_path / "broker" / "scoring.py"
    bad.parent.mkdir()
    bad.write_text("import httpx\nfrom gridbroker.settlement import service\nimport stripe\nasync def f(): ...\n")
    assert len(list(_problems(bad))) == 5


def test_every_route_says_who_may_call_it() -> None:
    from gridbroker.broker.routes import BROKER_ROUTES
    from gridbroker.grid.routes import ROUTES as GRID
    from gridbroker.identity.routes import ROUTES as IDENTITY
    from gridbroker.metering.routes import ROUTES as METERING
    from gridbroker.providers.routes import ROUTES as PROVIDERS
    from gridbroker.settlement.routes import ROUTES as SETTLEMENT

    for handler in [*BROKER_ROUTES, *GRID, *IDENTITY, *METERING, *PROVIDERS, *SETTLEMENT]:
        guards = handler.guards or []
        assert any(hasattr(guard, "roles") for guard in guards), f"{handler.paths} has no guard"


def test_pure_modules_are_checked_strictly() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["basedpyright"]["strict"]
    assert sorted(listed) == sorted(path.relative_to(ROOT).as_posix() for path in FILES if _is_pure(path))
