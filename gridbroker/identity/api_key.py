"""What a key may be, decided without looking anything up."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gridbroker.core.errors import FieldError, Forbidden, Invalid
from gridbroker.identity.role import ROLES_OF_KIND, Caller, OrganisationKind, Role, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    key_id: UUID
    org_id: UUID
    name: str
    role: Role
    scopes: tuple[Scope, ...]
    prefix: str
    node_id: UUID | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class CreatedKey:
    key: ApiKey
    secret: str
    """The only time that it exists outside its holder's hands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    org_id: UUID
    name: str
    kind: OrganisationKind
    home_zone: str | None
    created_at: datetime


class RoleNotAllowed(Invalid):
    code, title = "role_not_allowed", "This organisation cannot have a key with that role"


def check_role(kind: OrganisationKind, role: Role) -> None:
    """Raises RoleNotAllowed unless organisations of this kind may hold keys of this role."""
    allowed = ROLES_OF_KIND[kind]
    if role not in allowed:
        choices = ", ".join(sorted(allowed))
        raise RoleNotAllowed(f"A {kind} organisation's keys are: {choices}.", errors=[FieldError("/role", f"one of {choices}")])


class NotYoursToGive(Forbidden):
    code, title = "not_yours_to_give", "Nobody hands out more rights than they have"


def check_gift(giver: Caller, role: Role, scopes: Collection[Scope]) -> None:
    """Who may make (or renew, or end) a key: admins any, others one of their own role or for finance; with no scope that
    they lack themselves. A node gets its key by registering, from nobody else. Raises NotYoursToGive."""
    if role is Role.NODE or (giver.role is not Role.ADMIN and role not in (giver.role, Role.FINANCE)):
        raise NotYoursToGive(
            "Your key may deal in keys of its own role, and of finance.", errors=[FieldError("/role", f"not {role}")]
        )
    missing = sorted(set(scopes) - giver.scopes)
    if missing:
        raise NotYoursToGive(
            f"Your key lacks the scope {' and '.join(missing)} itself.", errors=[FieldError("/scopes", f"not {', '.join(missing)}")]
        )


def is_valid(expires_at: datetime | None, revoked_at: datetime | None, at: datetime) -> bool:
    """Whether a key may be used at a (wall) time; revocation may lie in the future while two keys overlap."""
    return (expires_at is None or at < expires_at) and (revoked_at is None or at < revoked_at)


def parse_scopes(names: Collection[str]) -> tuple[Scope, ...]:
    return tuple(sorted({Scope(name) for name in names}))
