"""The database itself keeps organisations apart: the catalogue, walked; and what the application role cannot do, tried."""

from uuid import UUID, uuid4

import asyncpg
import pytest
import sqlalchemy as sa

from gridbroker.app.embedded.postgres import EmbeddedPostgres
from gridbroker.app.tables import metadata
from gridbroker.core.db import APP_ROLE, ORG_SETTING, SYSTEM_ROLE, Database
from gridbroker.identity import service as identity
from gridbroker.identity.role import OrganisationKind
from tests.integration.api.support import Api

ORG_COLUMNS = ("org_id", "provider_org_id", "debit_org_id", "credit_org_id")
SHARED = {"grid_signals", "ledger_batches", "receipt_trees"}
"""Tables without an organisation: public knowledge, or hashes only."""
DENIED = (sa.exc.ProgrammingError, sa.exc.DBAPIError)


def tenant_tables() -> dict[str, list[str]]:
    found = {name: [column for column in ORG_COLUMNS if column in table.c] for name, table in metadata.tables.items()}
    return {name: columns or ["id"] for name, columns in found.items() if columns or name == "organisations"}


async def rows(database: Database, statement: str, **values: object) -> list[sa.Row]:
    async with database.as_system() as tx:
        return list(await tx.execute(sa.text(statement), values))


@pytest.fixture
async def two(api: Api) -> tuple[UUID, UUID]:
    """Two customers, a provider each, a finished workload each: rows in every tenant table."""
    await api.refresh_grid()
    owners: list[UUID] = []
    for _ in range(2):
        customer, provider = await api.developer(), await api.provider()
        await api.run_to_receipt(customer, provider)
        (await provider.http.post(f"/api/v1/nodes/{provider.node_id}/drain")).raise_for_status()
        owners.append(customer.org_id)
    return owners[0], owners[1]


def test_every_table_is_an_organisations_or_named_here_as_shared():
    assert set(metadata.tables) == set(tenant_tables()) | SHARED


async def test_tables_of_organisations_have_forced_row_security_with_policies(database):
    catalogue = {
        row.relname: row
        for row in await rows(
            database,
            "select c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relkind::text as relkind,"
            " array(select p.polname || ':' || pg_get_expr(p.polqual, p.polrelid) || ':' ||"
            "  coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') from pg_policy p where p.polrelid = c.oid"
            "  and p.polroles @> array[(select oid from pg_roles where rolname = :app)]) as policies"
            " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = 'public' and c.relkind in ('r', 'p', 'v', 'm', 'f')",
            app=APP_ROLE,
        )
    }
    in_database = await rows(
        database,
        "select distinct c.relname as name from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attname = any(:names)",
        names=list(ORG_COLUMNS),
    )
    # What the database has, not only what the code knows of: partitions and views would show up here.
    for name in {row.name for row in in_database} | {"organisations"}:
        assert catalogue[name].relkind in ("r", "p"), f"{name} is a view: it runs as its owner unless security_invoker is set"
        assert catalogue[name].relrowsecurity and catalogue[name].relforcerowsecurity, name
        assert catalogue[name].policies, f"{name} has no policy for {APP_ROLE}"
        for policy in catalogue[name].policies:
            assert "NULLIF(current_setting" in policy, (name, policy)
    assert not [name for name, row in catalogue.items() if row.relkind in ("v", "m", "f")]


async def test_the_roles_cannot_get_round_it(database):
    by_name = {
        row.rolname: row
        for row in await rows(
            database,
            "select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication from pg_roles"
            " where rolname = any(:names)",
            names=[APP_ROLE, SYSTEM_ROLE],
        )
    }
    assert set(by_name) == {APP_ROLE, SYSTEM_ROLE}
    for role in by_name.values():
        assert not any([role.rolsuper, role.rolbypassrls, role.rolcreaterole, role.rolcreatedb, role.rolreplication]), role
    owned = await rows(
        database,
        "select c.relname from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname = any(:names)"
        " union all select p.proname from pg_proc p join pg_roles r on r.oid = p.proowner where r.rolname = any(:names)",
        names=[APP_ROLE, SYSTEM_ROLE],
    )
    assert owned == []
    memberships = await rows(
        database, "select 1 from pg_auth_members m join pg_roles r on r.oid = m.member where r.rolname = :app", app=APP_ROLE
    )
    assert memberships == []


DENIED_STATEMENTS = [
    f"set role {SYSTEM_ROLE}",
    "set role gridbroker_owner",
    f"set session authorization {SYSTEM_ROLE}",
    "alter table workloads disable row level security",
    "alter table workloads no force row level security",
    "drop policy workloads_org on workloads",
    "create policy open on workloads using (true)",
    "create table mine (id int)",
    "create function f() returns int language sql as 'select 1'",
    f"alter role {APP_ROLE} bypassrls",
    "drop table workload_logs",
    "truncate workloads",
    "delete from workloads",
    "update organisations set kind = 'platform'",
    "insert into organisations (id, name, kind, created_at) values (gen_random_uuid(), 'x', 'platform', now())",
    "delete from api_keys",
    "delete from idempotency_keys",
    "update idempotency_keys set body = ''",
    "select * from alembic_version",
    "update statements set cost_micro = 0",
    "insert into ledger_accounts (code, currency, guarded, derived) values ('x', 'EUR', false, false)",
    "update ledger_accounts set credits_posted = 1000000000",
    "delete from ledger_accounts",
    "insert into ledger_batches (id, body_hash) values (gen_random_uuid(), '')",
    "select * from ledger_batches",
    "update ledger_transfers set amount_micro = 1",
    "delete from ledger_transfers",
    "insert into ledger_transfers (id) values (gen_random_uuid())",
    "select ledger_post(gen_random_uuid(), '[]'::jsonb)",
    "select ledger_authorise(gen_random_uuid())",
    "update charges set state = 'paid'",
    "insert into payouts (id) values (gen_random_uuid())",
    "update receipts set document = ''",
    "select * from orders",
    "select pg_read_file('/etc/passwd')",
    "copy workloads to program 'cat'",
    "select * from pg_authid",
]


async def test_the_application_role_is_denied(database):
    for statement in DENIED_STATEMENTS:
        with pytest.raises(DENIED, match=r"permission denied|must be|row-level security|not bound|only roles"):
            async with database.as_org(uuid4()) as tx:
                await tx.execute(sa.text(statement))


async def test_the_system_role_cannot_touch_the_schema_nor_rewrite_the_ledger(database):
    for statement in (
        "alter table workloads disable row level security",
        "set role gridbroker_owner",
        "update ledger_accounts set credits_posted = 1",
        "insert into ledger_transfers (id) values (gen_random_uuid())",
        "delete from ledger_transfers",
        "delete from statements",
        "delete from receipts",
    ):
        with pytest.raises(DENIED, match=r"permission denied|must be owner"):
            async with database.as_system() as tx:
                await tx.execute(sa.text(statement))


async def test_without_an_organisation_every_tenant_table_is_empty(database, two):
    async with database.as_system() as tx:
        filled = {name for name in tenant_tables() if await tx.scalar(sa.text(f"select count(*) from {name}"))}
    assert filled >= set(tenant_tables()) - {"orders"}, "the test needs rows to hide"
    readable = set(tenant_tables()) - {"orders"}
    async with database.app.begin() as tx:
        for name in readable:
            assert await tx.scalar(sa.text(f"select count(*) from {name}")) == 0, name
    async with database.as_org(uuid4()) as tx:
        for name in readable:
            assert await tx.scalar(sa.text(f"select count(*) from {name}")) == 0, name


async def test_an_organisation_sees_its_rows_and_no_others(database, two):
    for org_id in two:
        async with database.as_org(org_id) as tx:
            for name, columns in tenant_tables().items():
                if name == "orders":
                    continue
                mine = " or ".join(f"{column} = :org" for column in columns)
                foreign = await tx.scalar(
                    sa.text(f"select count(*) from {name} where not coalesce({mine}, false)"), {"org": org_id}
                )
                assert foreign == 0, name
            assert await tx.scalar(sa.text("select count(*) from workloads")) == 1


async def test_the_setting_does_not_outlive_its_transaction(postgres: EmbeddedPostgres, database_name, database, two):
    connection = await asyncpg.connect(postgres.database_urls(database_name).app)
    try:
        for end in ("commit", "rollback"):
            await connection.execute("begin")
            await connection.execute(f"select set_config('{ORG_SETTING}', '{two[0]}', true)")
            assert await connection.fetchval("select count(*) from workloads") == 1
            await connection.execute(end)
            assert await connection.fetchval(f"select current_setting('{ORG_SETTING}', true)") in ("", None)
            assert await connection.fetchval("select count(*) from workloads") == 0
    finally:
        await connection.close()


async def test_rows_cannot_be_planted_in_or_moved_to_another_organisation(database, two):
    mine, other = two
    attempts = {
        (
            "insert into workload_events (id, org_id, workload_id, at, kind, detail)"
            " select gen_random_uuid(), :other, workload_id, at, kind, detail from workload_events limit 1"
        ),
        (
            "insert into api_keys (id, org_id, name, role, scopes, prefix, secret_hash, created_at)"
            " values (gen_random_uuid(), :other, 'x', 'admin', array['read'], 'p', '', now())"
        ),
        "insert into node_tokens (id, org_id, token_hash, expires_at) values (gen_random_uuid(), :other, '', now())",
        "insert into idempotency_keys (org_id, key, fingerprint, status, body) values (:other, 'k', '', 201, '')",
        "update workloads set org_id = :other",
        "update api_keys set org_id = :other",
        (
            "insert into charges (id, org_id, method, state, amount_micro, currency, payment_method, created_at)"
            " values (gen_random_uuid(), :other, 'card', 'due', 1, 'EUR', 'x', now())"
        ),
    }
    for statement in attempts:
        with pytest.raises(DENIED, match="row-level security"):
            async with database.as_org(mine) as tx:
                await tx.execute(sa.text(statement), {"other": other})
    async with database.as_org(mine) as tx:
        result = await tx.execute(sa.text("update workloads set name = 'taken' where org_id = :other"), {"other": other})
        assert result.rowcount == 0


async def test_money_moves_for_the_bound_organisation_only(database, two):
    mine, other = two
    for call in (
        "select ledger_hold(:other, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, 'EUR')",
        "select ledger_open('wallet', :other, 'EUR')",
    ):
        with pytest.raises(DENIED, match="not bound to the organisation"):
            async with database.as_org(mine) as tx:
                await tx.execute(sa.text(call), {"other": other})
        with pytest.raises(DENIED, match="not bound to the organisation"):
            async with database.app.begin() as tx:
                await tx.execute(sa.text(call), {"other": other})


async def test_functions_that_run_as_their_owner_fix_their_search_path(database):
    functions = await rows(
        database,
        "select p.oid::regprocedure::text as name, p.prosecdef, p.proconfig,"
        " has_function_privilege('public', p.oid, 'execute') as open"
        " from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = 'public'"
        " and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')",
    )
    assert functions
    for function in functions:
        assert not function.open, f"{function.name} is open to everybody"
        if function.prosecdef:
            assert "search_path=public, pg_temp" in (function.proconfig or []), function.name


async def test_one_organisation_after_another_on_one_connection(database, clock):
    """The pool hands connections on: what one request bound must not be the next one's."""
    async with database.as_system() as tx:
        ids = [
            (await identity.create_organisation(tx, clock, name=str(number), kind=OrganisationKind.DEVELOPER)).org_id
            for number in range(5)
        ]
    for _ in range(4):
        for org_id in ids:
            async with database.as_org(org_id) as tx:
                assert list(await tx.scalars(sa.text("select id from organisations"))) == [org_id]
