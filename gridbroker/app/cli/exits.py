"""The exit codes of every command; docs/cli.md shows the same table."""

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    AUTH = 4
    CONFLICT = 5
    TRY_LATER = 6
    """Rate limited, unavailable, or not reachable."""
    INVALID = 7
    INSUFFICIENT_FUNDS = 8
    DATA_DIR_IN_USE = 10
    PORT_IN_USE = 11
    DATA_DIR_UNWRITABLE = 12
    SCHEMA_TOO_NEW = 13
    START_FAILED = 14
    INTERRUPTED = 130


_BY_CODE = {
    "data_dir_in_use": Exit.DATA_DIR_IN_USE,
    "port_in_use": Exit.PORT_IN_USE,
    "data_dir_unwritable": Exit.DATA_DIR_UNWRITABLE,
    "schema_too_new": Exit.SCHEMA_TOO_NEW,
    "start_failed": Exit.START_FAILED,
    "postgres_failed": Exit.START_FAILED,
    "valkey_failed": Exit.START_FAILED,
    "missing_binary": Exit.START_FAILED,
    "no_free_port": Exit.START_FAILED,
    "port_unusable": Exit.START_FAILED,
    "bad_signing_key": Exit.START_FAILED,
}

_BY_STATUS = {
    400: Exit.INVALID,
    401: Exit.AUTH,
    402: Exit.INSUFFICIENT_FUNDS,
    403: Exit.AUTH,
    404: Exit.NOT_FOUND,
    408: Exit.TRY_LATER,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    413: Exit.INVALID,
    415: Exit.INVALID,
    422: Exit.INVALID,
    429: Exit.TRY_LATER,
    502: Exit.TRY_LATER,
    503: Exit.TRY_LATER,
    504: Exit.TRY_LATER,
}


def exit_of(code: str, status: int) -> Exit:
    """What a refusal exits with: start-up errors by their code, everything else by its HTTP status."""
    return _BY_CODE.get(code) or _BY_STATUS.get(status, Exit.FAILURE)
