import dataclasses
import inspect

import msgspec
from litestar.handlers import HTTPRouteHandler

from gridbroker.node_agent.protocol import NodeRegistration
from gridbroker.providers import routes


def test_the_registration_body_is_the_protocols():
    """The agent sends the dataclass, the server reads the struct: same names, same defaults."""
    sent = {
        field.name: dataclasses.MISSING if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(NodeRegistration)
    }
    read = {
        field.name: dataclasses.MISSING if field.default is msgspec.NODEFAULT else field.default
        for field in msgspec.structs.fields(routes.RegistrationBody)
    }
    assert read == sent


def test_every_handler_is_listed():
    handlers = [value for _, value in inspect.getmembers(routes) if isinstance(value, HTTPRouteHandler)]
    assert handlers
    assert len(handlers) == len(routes.ROUTES) == len(set(map(id, routes.ROUTES)))
