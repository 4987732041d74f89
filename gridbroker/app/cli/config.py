"""Which server and key a command uses: flags over GRIDBROKER_URL and GRIDBROKER_API_KEY over the configuration file.

The only module of the CLI that reads the environment. A key from the file goes to the server that it was saved with and to no
other, so `--url` can never hand it to a stranger.
"""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_config_path

from gridbroker.core.errors import Conflict, GridbrokerError, Invalid, Unauthenticated

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_PROFILE = "default"
_PROFILE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_OTHERS = 0o077


class BadConfig(GridbrokerError):
    code, status, title = "bad_config", 422, "The configuration file cannot be used"


class ConfigExposed(Conflict):
    code, status, title = "config_exposed", 403, "Others may read the configuration file, and a key is in it"


class NoKey(Unauthenticated):
    code, title = "no_key", "No API key"


@dataclass(frozen=True, slots=True)
class Profile:
    url: str
    key: str | None = field(default=None, repr=False)


def config_path() -> Path:
    return user_config_path("gridbroker") / "config.toml"


def resolve(name: str, url: str | None, environment: Mapping[str, str] | None = None, *, path: Path | None = None) -> Profile:
    """The server and key to use. Raises BadConfig and ConfigExposed."""
    environment = os.environ if environment is None else environment  # noqa: TID251 - the CLI's one reader
    saved = read(path or config_path()).get(name)
    chosen = (url or environment.get("GRIDBROKER_URL") or (saved.url if saved else DEFAULT_URL)).rstrip("/")
    saved_key = saved.key if saved and saved.url == chosen else None
    return Profile(chosen, environment.get("GRIDBROKER_API_KEY") or saved_key)


def require_key(profile: Profile) -> str:
    if profile.key is None:
        raise NoKey(f"There is none for {profile.url}.")
    return profile.key


def read(path: Path) -> dict[str, Profile]:
    """The saved profiles by name; none when there is no file."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                raise ConfigExposed(f"Run: chmod 600 {path}")
            tables = tomllib.load(file).get("profiles", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        # A syntax error's text may quote the file, and with it a key.
        reason = error.strerror if isinstance(error, OSError) else "it is not valid TOML"
        raise BadConfig(f"{path}: {reason}.") from None
    if not isinstance(tables, dict) or not all(_is_profile(table) for table in tables.values()):
        raise BadConfig(f"{path}: each [profiles.NAME] needs `url`, and may have `key`.")
    return {name: Profile(table["url"].rstrip("/"), table.get("key")) for name, table in tables.items()}


def save(name: str, profile: Profile, path: Path | None = None) -> Path:
    """Add or replace one profile. The file is whole or as before, and its owner's alone from the first byte."""
    if not _PROFILE_NAME.fullmatch(name):
        raise Invalid(f"{name!r} is not a profile name: letters, digits, - and _.")
    path = path or config_path()
    profiles = read(path) | {name: profile}
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="ascii"
        ) as file:
            file.write("".join(_table(one, profiles[one]) for one in sorted(profiles)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def forget(name: str, path: Path | None = None) -> bool:
    """Remove a profile's key from the file; whether there was one."""
    path = path or config_path()
    saved = read(path).get(name)
    if saved is None or saved.key is None:
        return False
    save(name, Profile(saved.url), path)
    return True


def _is_profile(table: object) -> bool:
    return isinstance(table, dict) and isinstance(table.get("url"), str) and isinstance(table.get("key", ""), str)


def _table(name: str, profile: Profile) -> str:
    # A JSON string of ASCII is a TOML string too.
    lines = [f"[profiles.{name}]", f"url = {json.dumps(profile.url)}"]
    if profile.key is not None:
        lines.append(f"key = {json.dumps(profile.key)}")
    return "\n".join(lines) + "\n\n"
