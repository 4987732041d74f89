"""Row-level security and grants, said the same way for every table.

Rows of an organisation are reachable for the application role only while the transaction names that organisation
(`set_config('gridbroker.org', ..., true)`); the setting is '' after a commit, hence nullif. FORCE binds the table's owner too.
"""

from alembic import op

from gridbroker.core.db import APP_ROLE, ORG_SETTING, SYSTEM_ROLE

CURRENT_ORG = f"nullif(current_setting('{ORG_SETTING}', true), '')::uuid"
READ_ONLY = "select"
READ_WRITE = "select, insert, update, delete"
APPEND_ONLY = "select, insert"


def protect(table: str, *org_columns: str, app: str = READ_WRITE, system: str = READ_WRITE) -> None:
    """Force row-level security: the application role sees rows where one of `org_columns` (default org_id) is its organisation.

    Only the first column may be written by it, so nobody can plant a row in another organisation.
    """
    columns = org_columns or ("org_id",)
    op.execute(f"alter table {table} enable row level security")
    op.execute(f"alter table {table} force row level security")
    mine = " or ".join(f"{column} = {CURRENT_ORG}" for column in columns)
    op.execute(f"create policy {table}_org on {table} to {APP_ROLE} using ({mine}) with check ({columns[0]} = {CURRENT_ORG})")
    op.execute(f"create policy {table}_system on {table} to {SYSTEM_ROLE} using (true) with check (true)")
    grant(table, app=app, system=system)


def grant(table: str, *, app: str | None = READ_ONLY, system: str | None = READ_WRITE) -> None:
    """Privileges on a table. Call it alone only for tables without an organisation, such as grid signals."""
    op.execute(f"revoke all on {table} from public")
    if app:
        op.execute(f"grant {app} on {table} to {APP_ROLE}")
    if system:
        op.execute(f"grant {system} on {table} to {SYSTEM_ROLE}")
