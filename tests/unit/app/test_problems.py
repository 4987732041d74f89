"""Any exception as a problem: ours as they are, the framework's by kind, everything unknown without its text."""

from typing import Any

import asyncpg
import pytest
from litestar.exceptions import (
    ClientException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from sqlalchemy import exc

from gridbroker.app.json_body import decode, invalid
from gridbroker.app.problems import problem_of, translate
from gridbroker.broker.routes.bodies import WorkloadBody
from gridbroker.core.errors import FieldError, GridbrokerError, Invalid, Malformed, NotFound, pointer


def driver_error(cause: BaseException) -> exc.DBAPIError:
    """As SQLAlchemy wraps what asyncpg raises."""
    wrapped = Exception("translated")
    wrapped.__cause__ = cause
    return exc.DBAPIError("insert into secrets", ("hunter2",), wrapped)


@pytest.mark.parametrize(
    ("exception", "status", "code"),
    [
        (NotFound("x"), 404, "not_found"),
        (NotFoundException(), 404, "not_found"),
        (MethodNotAllowedException(headers={"allow": "GET"}), 405, "method_not_allowed"),
        (RequestEntityTooLarge(), 413, "too_large"),
        (ValidationException("no", extra=[{"key": "limit", "message": "too small"}]), 422, "invalid"),
        (ClientException("odd"), 400, "malformed_request"),
        (InternalServerException("secret"), 500, "internal"),
        (RuntimeError("secret"), 500, "internal"),
        (ConnectionRefusedError("secret"), 503, "unavailable"),
        (exc.TimeoutError("secret"), 503, "unavailable"),
        (driver_error(asyncpg.TooManyConnectionsError("secret")), 503, "unavailable"),
        (driver_error(asyncpg.ConnectionDoesNotExistError("secret")), 503, "unavailable"),
        (driver_error(asyncpg.CharacterNotInRepertoireError("secret")), 422, "invalid"),
        (driver_error(asyncpg.NumericValueOutOfRangeError("secret")), 422, "invalid"),
        (driver_error(asyncpg.DataError("secret")), 422, "invalid"),
        (driver_error(asyncpg.UniqueViolationError("secret")), 500, "internal"),
        (driver_error(asyncpg.InsufficientPrivilegeError("secret")), 500, "internal"),
    ],
)
def test_what_each_exception_becomes(exception, status, code):
    error = translate(exception, {})
    assert (error.status, error.code) == (status, code)
    assert "secret" not in str(error) and "hunter2" not in str(error)


def test_query_parameters_are_called_what_the_client_calls_them():
    error = translate(ValidationException("no", extra=[{"key": "workload_state", "message": "bad"}]), {"workload_state": "state"})
    assert error.errors == [FieldError("/state", "bad")]


def test_a_missing_parameter_is_pointed_at():
    error = translate(ValidationException("Missing required query parameter 'zone' for path /x"), {})
    assert error.errors == [FieldError("/zone", "is required")]


def test_a_problem_carries_everything_of_its_error():
    error = Invalid("d", reasons={"vram": 3}, errors=[FieldError("/a", "b")])
    problem = problem_of(error, "request-1", "/x")
    assert (problem.type, problem.status, problem.code) == ("https://gridbroker.dev/problems/invalid", 422, "invalid")
    assert (problem.request_id, problem.instance, problem.reasons) == ("request-1", "/x", {"vram": 3})
    assert [(one.pointer, one.detail) for one in problem.errors] == [("/a", "b")]


def test_every_code_has_one_status():
    def all_of(kind: type[GridbrokerError]) -> list[type[GridbrokerError]]:
        return [kind, *(deeper for one in kind.__subclasses__() for deeper in all_of(one))]

    statuses: dict[str, set[int]] = {}
    for kind in all_of(GridbrokerError):
        if kind.__module__.startswith("gridbroker."):
            statuses.setdefault(kind.code, set()).add(kind.status)
    assert {code: found for code, found in statuses.items() if len(found) > 1} == {}
    assert all(code.replace("_", "").isalnum() and code.islower() for code in statuses)


@pytest.mark.parametrize(
    ("message", "where", "what"),
    [
        ("Expected `int` >= 1 - at `$.gpus`", "/gpus", "Expected `int` >= 1"),
        ("Expected `str`, got `int` - at `$.zones[3]`", "/zones/3", "Expected `str`, got `int`"),
        ("Expected `str`, got `int` - at `$.a[0].b[12]`", "/a/0/b/12", "Expected `str`, got `int`"),
        ("Expected `str`, got `int` - at `$.environment[...]`", "/environment", "Expected `str`, got `int`"),
        ("Expected `str` - at `key` in `$.environment`", "/environment", "Expected `str`"),
        (
            "Object missing required field `currency` - at `$.budget`",
            "/budget/currency",
            "Object missing required field `currency`",
        ),
        ("Object contains unknown field `a/b~`", "/a~1b~0", "Object contains unknown field `a/b~`"),
        ("Expected `object`, got `array`", "", "Expected `object`, got `array`"),
        ("something new", "", "something new"),
    ],
)
def test_the_decoders_words_as_a_pointer(message, where, what):
    assert invalid(message).errors == [FieldError(where, what)]


@pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"\x00", b'"\\ud800"'])
def test_what_is_not_json_is_malformed(body):
    with pytest.raises(Malformed):
        decode(body, Any)


def test_a_body_is_read_strictly():
    whole = b'{"name":"n","command":["a"],"budget":{"amount":"1","currency":"EUR"},"gpus":%s}'
    assert decode(whole % b"2", WorkloadBody).gpus == 2
    for wrong in (b'"2"', b"2.5", b"true", b"null"):
        with pytest.raises(Invalid):
            decode(whole % wrong, WorkloadBody)


def test_pointers_escape_as_the_rfc_says():
    assert pointer() == ""
    assert pointer("a/b", "m~n", 0, "") == "/a~1b/m~0n/0/"
