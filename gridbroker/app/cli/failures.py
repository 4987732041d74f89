"""What a failed command says and exits with: title, detail, each wrong field, request id and a next step on stderr; with --json
the problem document on stdout. Imported only when something failed."""

import re
from collections.abc import Mapping
from typing import Any

from gridbroker_sdk import ApiError, Problem, ProblemField, Unreachable

from gridbroker.app.cli import output
from gridbroker.app.cli.exits import Exit, exit_of
from gridbroker.core.errors import GridbrokerError

_PASSWORD = re.compile(r"(?<=://)[^/\s@]+@")
"""Of a database's address in an error's text."""

_NEXT_BY_CODE = {
    "no_key": "Run `gridbroker login`, or set GRIDBROKER_API_KEY.",
    "data_dir_in_use": "Stop the other one, or choose another folder with --data-dir.",
    "port_in_use": "Choose another port with --port; 0 takes any free one.",
    "data_dir_unwritable": "Choose another folder with --data-dir.",
    "schema_too_new": "Install the newer Gridbroker that wrote this folder, or choose another folder.",
    "missing_binary": "Run `gridbroker doctor`.",
    "unreachable": "Start one with `gridbroker up`, or name another with --url or GRIDBROKER_URL.",
    "insufficient_funds": "Run `gridbroker ledger topup AMOUNT`, or ask for less with --budget.",
    "idempotency_key_reused": "Use another --idempotency-key.",
    "receipt_not_batched": "Trees are built every few seconds; try again shortly.",
    "agent_refused": "Get a new token with `gridbroker nodes token`, and check zone, GPU model and price.",
    "not_gridbroker": "Check the address with `gridbroker whoami --url URL`.",
}
_NEXT_BY_STATUS = {
    401: "The key is unknown, expired or revoked: run `gridbroker login` with another.",
    403: "`gridbroker whoami` shows the role of your key; use one with another role.",
    404: "Check the id; only what belongs to your organisation is found.",
    409: "Look at its current state with the `show` command.",
    429: "Wait a little and repeat the command.",
    503: "Wait a little and repeat the command.",
}


def report(error: Exception, *, as_json: bool) -> Exit:
    """Say what failed and return the exit code. Re-raises what no user can meet: a bug shows its traceback."""
    problem = problem_of(error)
    if problem is None:
        raise error
    if as_json:
        output.put_json(problem.document)
    else:
        _say(problem)
    return exit_of(problem.code, problem.status)


def problem_of(error: Exception) -> Problem | None:
    match error:
        case ApiError():
            return error.problem
        case Unreachable():
            return _local(code="unreachable", status=503, title="The server is out of reach", detail=str(error))
        case GridbrokerError():
            return _of_ours(error)
        case OSError():
            return _local(code="system", status=500, title="The operating system refused", detail=str(error))
        case _:
            return None


def _say(problem: Problem) -> None:
    repeated = problem.errors and all(one.detail in problem.detail for one in problem.errors)
    output.say(problem.title if repeated or not problem.detail else f"{problem.title}: {problem.detail}")
    for one in problem.errors:
        output.say(f"  {one.pointer or '/'}: {one.detail}")
    for reason, count in problem.reasons.items():
        output.say(f"  {reason}: {count}")
    if problem.request_id:
        output.say(f"Request id: {problem.request_id}")
    step = next_step(problem)
    if step:
        output.say(f"Next: {step}")


def next_step(problem: Problem) -> str:
    if problem.code in _NEXT_BY_CODE:
        return _NEXT_BY_CODE[problem.code]
    if problem.retry_after_s is not None:
        return f"Repeat the command in {problem.retry_after_s:.0f} s."
    if problem.status in (400, 422):
        return "Correct the fields above; --help explains the options." if problem.errors else ""
    if problem.status >= 500 and problem.request_id:
        return "Tell the server's operator the request id; it is in the log."
    return _NEXT_BY_STATUS.get(problem.status, "")


def _of_ours(error: GridbrokerError) -> Problem:
    return _local(
        code=error.code,
        status=error.status,
        title=error.title,
        detail=_PASSWORD.sub("[hidden]@", error.detail),
        errors=[{"pointer": one.pointer, "detail": one.detail} for one in error.errors],
        reasons=dict(error.reasons),
    )


def _local(**document: Any) -> Problem:
    """A problem that no server sent."""
    shown: Mapping[str, Any] = {name: value for name, value in document.items() if value not in ([], {})}
    return Problem(
        status=document["status"],
        code=document["code"],
        title=document["title"],
        detail=document["detail"],
        errors=tuple(ProblemField(one["pointer"], one["detail"]) for one in document.get("errors", [])),
        reasons=document.get("reasons", {}),
        document=shown,
    )
