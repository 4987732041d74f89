"""Bodies are read strictly: straight into the handler's type, so that "2" is no number, and what is wrong is named by its place."""

import re
from typing import Any

import msgspec
from litestar import Request

from gridbroker.core.errors import FieldError, GridbrokerError, Invalid, Malformed, pointer

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`(?P<path>\$.*)`)?$", re.DOTALL)
_OWN_FIELD = re.compile(r"Object (?:missing required field|contains unknown field) `(.*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class JsonRequest(Request[Any, Any, Any]):
    """Litestar would decode into plain objects first and convert those leniently; this decodes once, into the type of `data`."""

    async def json(self) -> Any:
        """Raises Malformed for what is not JSON, Invalid for JSON of another shape."""
        field = self.route_handler.parsed_data_field
        return decode(await self.body(), Any if field is None else field.annotation)


def decode(body: bytes, to: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=to)
    except msgspec.ValidationError as error:
        raise invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("The body is not valid JSON in UTF-8.") from None
    except RecursionError:
        raise Malformed("The body is nested too deeply.") from None


def invalid(message: str) -> GridbrokerError:
    """msgspec's message, such as "Expected `int` >= 1 - at `$.gpus[0]`", as an error with a JSON pointer."""
    found = _PLACE.match(message)
    assert found is not None, "every part of the pattern is optional"
    what, path = found["what"].strip(), found["path"] or "$"
    steps = [name or index for name, index in _STEP.findall(path.removeprefix("$").partition("[...]")[0])]
    if own := _OWN_FIELD.fullmatch(what):
        steps.append(own[1])
    where = pointer(*steps)
    return Invalid(f"{where or 'The body'}: {what}", errors=[FieldError(where, what)])
