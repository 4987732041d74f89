"""Structured logs on stderr, with secrets masked before they can be written."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET_NAME = re.compile(r"(?i)(secret|token|password|authorization|api_?key|private|credential|_url$)")
_SECRET_VALUE = re.compile(r"gridbroker_[a-z]+_[A-Za-z0-9]{8}_[A-Za-z0-9]+|(?<=://)[^/\s@]*:[^\s@]*@")
MASK = "[hidden]"


def configure(level: str = "info", *, json: bool = True) -> None:
    """Send structlog and the standard library's loggers to stderr in one format."""
    renderer = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Before masking: an exception's text may hold a key or a database URL as well as any other value.
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that masks values whose name or form says that they are secret."""
    for name, value in event.items():
        if _SECRET_NAME.search(name):
            event[name] = MASK
        else:
            event[name] = _hide(value)
    return event


def mask(text: str) -> str:
    """`text` without API keys, join tokens and the credentials of URLs."""
    return _SECRET_VALUE.sub(MASK, text)


def _hide(value: Any) -> Any:
    """The value with secrets masked at any depth; what is neither text nor a plain container is masked as its text."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return mask(value)
        case dict():
            return hide_secrets(None, "", {str(name): inner for name, inner in value.items()})
        case list() | tuple() | set() | frozenset():
            return [_hide(inner) for inner in value]
        case _:
            return mask(str(value))


def _number(level: str) -> int:
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r} is not one of debug, info, warning, error")
    return number
