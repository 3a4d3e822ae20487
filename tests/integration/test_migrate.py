"""Migrations: all or nothing, once, by many at the same time, by an admin who need not be a superuser."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from db.migrate import FOLDER, migrate, pending_migrations, shipped_migrations
from domain.errors import ConfigurationError, DatabaseUnavailableError
from sandbox.postgres import RunningPostgres, remove_postgres, start_postgres
from tests.conftest import AdminSession, TenantDatabase

NAMES = [file.stem for file in sorted((FOLDER / "migrations").iterdir())]


@pytest_asyncio.fixture
async def new_cluster() -> AsyncIterator[RunningPostgres]:
    """A server without our roles, which belong to the cluster and not to a database."""
    folder = Path(tempfile.mkdtemp(prefix="infin8-cluster-"))
    server = await start_postgres(folder, durable=False)
    try:
        yield server
    finally:
        await server.stop(immediate=True)
        remove_postgres(folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A copy of the shipped migrations and functions, to be changed."""
    for name in ("migrations", "functions"):
        shutil.copytree(FOLDER / name, tmp_path / name)
    return tmp_path


def test_migrations_are_numbered_without_repetition() -> None:
    numbers = [name[:4] for name in NAMES]
    assert all(number.isdigit() for number in numbers)
    assert len(set(numbers)) == len(numbers)
    assert [migration.name for migration in shipped_migrations()] == NAMES


async def test_all_are_applied_once(postgres: RunningPostgres, empty_database: str) -> None:
    dsn = postgres.admin_dsn(empty_database)
    assert await pending_migrations(dsn) == NAMES
    assert await migrate(dsn) == NAMES
    assert await migrate(dsn) == []
    for role in ("infin8_app", "infin8_operator"):
        assert await pending_migrations(postgres.dsn(role, empty_database)) == []


async def test_five_that_start_at_once(postgres: RunningPostgres, empty_database: str) -> None:
    results = await asyncio.gather(*(migrate(postgres.admin_dsn(empty_database)) for _ in range(5)))
    assert sorted(results) == [[]] * 4 + [NAMES]


async def test_several_databases_of_a_new_cluster_at_once(new_cluster: RunningPostgres) -> None:
    admin = AdminSession(new_cluster.admin_dsn())
    names = [f"database_{number}" for number in range(4)]
    for name in names:
        await admin.execute(f"CREATE DATABASE {name}")
    results = await asyncio.gather(*(migrate(new_cluster.admin_dsn(name)) for name in names for _ in range(2)))
    assert sorted(results) == [[]] * 4 + [NAMES] * 4


async def test_an_admin_without_superuser_is_enough(new_cluster: RunningPostgres) -> None:
    admin = AdminSession(new_cluster.admin_dsn())
    await admin.execute("CREATE ROLE deployer LOGIN CREATEROLE")
    await admin.execute("CREATE DATABASE production OWNER deployer")
    assert await migrate(new_cluster.dsn("deployer", "production")) == NAMES
    assert await migrate(new_cluster.dsn("deployer", "production")) == []
    owners = await AdminSession(new_cluster.admin_dsn("production")).fetch(
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    )
    assert [row["tableowner"] for row in owners] == ["infin8_owner"]


async def test_an_admin_who_may_not_make_roles_is_told_so(new_cluster: RunningPostgres) -> None:
    await AdminSession(new_cluster.admin_dsn()).execute("CREATE ROLE nobody_special LOGIN")
    with pytest.raises(ConfigurationError, match=r"\(42501\)"):
        await migrate(new_cluster.dsn("nobody_special", "postgres"))


@pytest.mark.parametrize(
    "might",
    [
        "ALTER ROLE infin8_app BYPASSRLS",
        "ALTER ROLE infin8_operator SUPERUSER",
        "ALTER ROLE infin8_owner BYPASSRLS",
        "GRANT infin8_owner TO infin8_app",
    ],
)
async def test_roles_above_row_level_security_are_refused(new_cluster: RunningPostgres, might: str) -> None:
    await migrate(new_cluster.admin_dsn())
    await AdminSession(new_cluster.admin_dsn()).execute(might)
    with pytest.raises(ConfigurationError, match="neither superuser nor BYPASSRLS"):
        await migrate(new_cluster.admin_dsn())


async def test_a_changed_file_is_refused(postgres: RunningPostgres, empty_database: str, own_folder: Path) -> None:
    dsn = postgres.admin_dsn(empty_database)
    await migrate(dsn, own_folder)
    changed = own_folder / "migrations" / f"{NAMES[1]}.sql"
    changed.write_text(changed.read_text() + "\n-- a harmless word\n")
    with pytest.raises(ConfigurationError, match=f"{NAMES[1]} was changed after it was applied") as refused:
        await migrate(dsn, own_folder)
    assert "\n" not in str(refused.value)


async def test_a_database_of_a_newer_version_is_refused(
    postgres: RunningPostgres, empty_database: str, own_folder: Path
) -> None:
    dsn = postgres.admin_dsn(empty_database)
    (own_folder / "migrations" / "9999_add_the_future.sql").write_text("CREATE TABLE future ();")
    await migrate(dsn, own_folder)
    with pytest.raises(ConfigurationError, match="9999_add_the_future is unknown here"):
        await migrate(dsn)
    assert await pending_migrations(dsn) == []


async def test_a_later_migration_is_applied_alone(
    postgres: RunningPostgres, empty_database: str, own_folder: Path
) -> None:
    dsn = postgres.admin_dsn(empty_database)
    await migrate(dsn)
    (own_folder / "migrations" / "9999_add_the_future.sql").write_text("CREATE TABLE future ();")
    assert await pending_migrations(dsn, own_folder) == ["9999_add_the_future"]
    assert await migrate(dsn, own_folder) == ["9999_add_the_future"]


@pytest.mark.parametrize("broken", ["migrations/9999_break.sql", "functions/zzz_break.sql"])
async def test_all_or_nothing(postgres: RunningPostgres, empty_database: str, own_folder: Path, broken: str) -> None:
    dsn = postgres.admin_dsn(empty_database)
    (own_folder / broken).write_text("CREATE TABLE half (); SELECT 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        await migrate(dsn, own_folder)
    assert await pending_migrations(dsn) == NAMES
    assert await AdminSession(dsn).fetch("SELECT FROM pg_tables WHERE schemaname = 'public'") == []
    assert await migrate(dsn) == NAMES


async def test_functions_are_put_right_by_each_migrate(postgres: RunningPostgres, empty_database: str) -> None:
    dsn = postgres.admin_dsn(empty_database)
    await migrate(dsn)
    admin = AdminSession(dsn)
    wanted = await admin.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'lock_workflow'")
    await admin.execute(
        "CREATE OR REPLACE FUNCTION lock_workflow(p_workflow_id uuid, p_organization_id uuid)"
        " RETURNS TABLE (state text, version bigint) LANGUAGE sql AS $$ SELECT 'CREATED', 0 $$"
    )
    assert await migrate(dsn) == []
    assert await admin.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'lock_workflow'") == wanted


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    dsn = f"postgresql://postgres@/postgres?host={tmp_path}"
    for call in (migrate(dsn), pending_migrations(dsn)):
        with pytest.raises(DatabaseUnavailableError):
            await call


async def test_a_database_that_is_not_there(postgres: RunningPostgres) -> None:
    with pytest.raises(ConfigurationError, match="no_such_database"):
        await migrate(postgres.admin_dsn("no_such_database"))


# What the migrations leave behind -----------------------------------------------------------------------------


async def test_the_owner_owns_everything(database: TenantDatabase) -> None:
    strangers = await database.admin.fetch(
        """
        SELECT relname AS name FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relowner <> 'infin8_owner'::regrole
        UNION ALL
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner <> 'infin8_owner'::regrole
        """
    )
    assert strangers == []


async def test_no_function_takes_its_names_from_the_callers_search_path(database: TenantDatabase) -> None:
    loose = await database.admin.fetch(
        """
        SELECT proname FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
            AND NOT coalesce(proconfig @> ARRAY['search_path=public, pg_temp'], false)
        """
    )
    assert [row["proname"] for row in loose] == []


async def test_public_may_do_nothing(postgres: RunningPostgres, empty_database: str) -> None:
    await migrate(postgres.admin_dsn(empty_database))
    admin = AdminSession(postgres.admin_dsn(empty_database))
    granted = await admin.fetch(
        """
        SELECT name, privilege_type FROM (
            SELECT relname AS name, relacl AS acl FROM pg_class WHERE relnamespace = 'public'::regnamespace
            UNION ALL
            SELECT proname, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace
            UNION ALL SELECT nspname, nspacl FROM pg_namespace WHERE nspname = 'public'
            UNION ALL
            SELECT datname, coalesce(datacl, acldefault('d', datdba)) FROM pg_database
            WHERE datname = current_database()
        ) AS objects, aclexplode(acl) WHERE grantee = 0
        """
    )
    assert granted == []
    await admin.execute("DROP ROLE IF EXISTS passer_by")
    await admin.execute("CREATE ROLE passer_by LOGIN")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(postgres.dsn("passer_by", empty_database))
