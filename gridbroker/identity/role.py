"""Who may do what: roles, scopes, and the caller that each request carries."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    DEVELOPER = "developer"
    DATACENTER = "datacenter"
    GAMER = "gamer"
    RECYCLER = "recycler"
    FINANCE = "finance"
    ADMIN = "admin"
    NODE = "node"
    """A node agent's own key. Never given to a person."""


PROVIDERS = frozenset({Role.DATACENTER, Role.GAMER, Role.RECYCLER})
PEOPLE = frozenset(set(Role) - {Role.NODE})


class OrganisationKind(StrEnum):
    DEVELOPER = "developer"
    DATACENTER = "datacenter"
    GAMER = "gamer"
    RECYCLER = "recycler"
    PLATFORM = "platform"
    """Ours; its admins run the service."""


ROLES_OF_KIND: dict[OrganisationKind, frozenset[Role]] = {
    OrganisationKind.DEVELOPER: frozenset({Role.DEVELOPER, Role.FINANCE}),
    OrganisationKind.DATACENTER: frozenset({Role.DATACENTER, Role.FINANCE}),
    OrganisationKind.GAMER: frozenset({Role.GAMER, Role.FINANCE}),
    OrganisationKind.RECYCLER: frozenset({Role.RECYCLER, Role.FINANCE}),
    OrganisationKind.PLATFORM: frozenset({Role.ADMIN, Role.FINANCE}),
}


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds the key that a request came with."""

    org_id: UUID
    key_id: UUID
    role: Role
    scopes: frozenset[Scope]
    node_id: UUID | None = None
    """Set exactly when the role is `node`."""
