"""Roles: one that row-level security binds, one that sees every organisation. Neither owns a table."""

from alembic import op

from gridbroker.core.db import APP_ROLE, SYSTEM_ROLE

revision = "0001"
down_revision = None


def upgrade() -> None:
    # Embedded databases have both as logins already; elsewhere the owner needs CREATEROLE once, or an administrator makes them.
    for role in (APP_ROLE, SYSTEM_ROLE):
        op.execute(
            f"do $$ begin if not exists (select from pg_roles where rolname = '{role}') then "
            f"create role {role} nologin nosuperuser nobypassrls; grant {role} to current_user; end if; end $$"
        )
        op.execute(f"grant usage on schema public to {role}")
    op.execute("revoke create on schema public from public")


def downgrade() -> None:
    # Roles belong to the whole server and may serve other databases: they stay.
    pass
