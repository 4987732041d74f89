"""Making a PostgreSQL cluster, whole or not at all: built beside its place, then renamed into it."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gridbroker.app.embedded import secret_file
from gridbroker.app.embedded.process import RunAs, spawn, tail_from
from gridbroker.core.errors import Unavailable

SUPERUSER = "postgres"
LOGIN_ROLES = ("gridbroker_owner", "gridbroker_app", "gridbroker_system")
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""Nothing of ours: a PGPORT or PGOPTIONS of the caller must not reach the server."""
LOCALE = "C.UTF-8" if sys.platform == "linux" else "C"
STEP_TIMEOUT_S = 120.0
UNFINISHED = "unfinished-"


class ClusterFailed(Unavailable):
    code, title = "postgres_failed", "The embedded PostgreSQL could not be set up"


def make_cluster(
    place: Path, bin_dir: Path, passwords: dict[str, str], database: str, log: Path, *, run_as: RunAs, fsync: bool
) -> None:
    """A cluster at `place` with our roles and the empty `database`; does nothing when it is there. Raises ClusterFailed."""
    if place.exists():
        return
    for leftover in place.parent.glob(UNFINISHED + "*"):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=place.parent))
    password_file = place.with_name("superuser")
    secret_file.write(password_file, passwords[SUPERUSER] + "\n")
    try:
        if run_as == "nobody":
            _give_to_nobody(unfinished, password_file)
        _run(initdb(bin_dir, unfinished, password_file, fsync=fsync), b"", log, run_as)
        _run(single_user(bin_dir, unfinished, "postgres"), role_statements(passwords, database), log, run_as)
        _run(single_user(bin_dir, unfinished, database), EXTENSION_STATEMENT, log, run_as)
    finally:
        password_file.unlink(missing_ok=True)
    unfinished.rename(place)
    secret_file.sync_folder(place.parent)


def initdb(bin_dir: Path, cluster: Path, password_file: Path, *, fsync: bool) -> list[str]:
    command = [str(bin_dir / "initdb"), "-D", str(cluster), "-U", SUPERUSER, f"--pwfile={password_file}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", f"--locale={LOCALE}", "--data-checksums"]
    return command if fsync else [*command, "--no-sync"]


def single_user(bin_dir: Path, cluster: Path, database: str) -> list[str]:
    """The server without network, reading one statement per line: what it sets up is there before anyone can connect."""
    return [str(bin_dir / "postgres"), "--single", "-D", str(cluster), "-c", "exit_on_error=on", database]


def role_statements(passwords: dict[str, str], database: str) -> bytes:
    attributes = "login nosuperuser nocreatedb nocreaterole nobypassrls"
    roles = [f"create role {role} {attributes} password '{passwords[role]}'" for role in LOGIN_ROLES]
    return _lines([*roles, f"create database {database} owner {LOGIN_ROLES[0]}"])


def _lines(statements: list[str]) -> bytes:
    return "".join(f"{statement};\n" for statement in statements).encode()


_GIST = "select from pg_available_extensions where name = 'btree_gist'"
EXTENSION_STATEMENT = _lines([f"do $$ begin if exists ({_GIST}) then create extension btree_gist; end if; end $$"])


def _give_to_nobody(cluster: Path, password_file: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    cluster.parent.chmod(0o711)  # it must pass through; the secrets beside the cluster are 0600
    for path in (cluster, password_file):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _run(argv: list[str], stdin: bytes, log: Path, run_as: RunAs) -> None:
    log_start = log.stat().st_size if log.exists() else 0
    process = spawn(argv, log=log, env=ENVIRONMENT, run_as=run_as, stdin=stdin)
    try:
        code = process.wait(STEP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if code != 0:
        raise ClusterFailed(f"{argv[0]} ended with {code}. It said:\n{tail_from(log, log_start)}{_hint(run_as)}")


def _hint(run_as: RunAs) -> str:
    if run_as != "nobody":
        return ""
    return (
        "\nPostgreSQL does not run as root, user namespaces are not allowed here, and the user nobody may not reach the program "
        "or the folder. Run Gridbroker as an ordinary user, or use a server of your own through GRIDBROKER_DATABASE_URL."
    )
