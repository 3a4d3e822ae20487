"""Forward-only numbered migrations, then the functions, in one transaction; safe for many starting at once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from db.errors import translated_errors
from db.pool import Connection, Database
from domain.errors import ConfigurationError
from domain.states import LEGAL_TRANSITIONS, State, lint_graph

FOLDER = Path(__file__).parent
ADVISORY_LOCK = 4_938_217_765_301  # ours alone within the database; the number means nothing
SERVER_VERSION_MIN = 160_000
ROLES_TRIES = 20


@dataclass(frozen=True)
class Migration:
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped_migrations(folder: Path = FOLDER) -> list[Migration]:
    """The numbered files of this version, in order."""
    files = sorted((folder / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql"))
    return [Migration(file.stem, file.read_text(encoding="utf-8")) for file in files]


async def migrate(admin_dsn: str, folder: Path = FOLDER) -> list[str]:
    """Bring the database to this version; the names that were applied now, none when it was there already.

    Raises ConfigurationError when an applied file was changed since or the database is newer than this version,
    DatabaseUnavailableError when it can't be reached. Either all of it is applied or nothing.
    """
    migrations = shipped_migrations(folder)
    functions = [file.read_text(encoding="utf-8") for file in sorted((folder / "functions").glob("*.sql"))]
    with translated_errors():
        async with _connected(admin_dsn) as connection:
            await _refuse_old_server(connection)
            await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
            await _ensure_roles(connection)
            return await _apply(connection, migrations, functions)


async def pending_migrations(dsn: str, folder: Path = FOLDER) -> list[str]:
    """Names of this version's migrations that the database lacks; any of the roles may ask."""
    with translated_errors():
        async with _connected(dsn) as connection:
            applied = await _applied_checksums(connection)
    return [migration.name for migration in shipped_migrations(folder) if migration.name not in applied]


async def check_parity(database: Database) -> None:
    """Raises ConfigurationError naming every difference between the graph in code and the one in the database."""
    async with database.reading() as connection:
        rows = await connection.fetch("SELECT from_state, to_state FROM legal_transitions")
    faults = [*lint_graph(), *_differences({(row["from_state"], row["to_state"]) for row in rows}, LEGAL_TRANSITIONS)]
    if faults:
        raise ConfigurationError(f"the graph of states is not sound: {'; '.join(faults)}; migrate or roll back")


def _differences(stored: set[tuple[str, str]], coded: Iterable[tuple[State, State]]) -> list[str]:
    wanted = {(str(origin), str(target)) for origin, target in coded}
    missing = [f"{origin} → {target} is not in the database" for origin, target in sorted(wanted - stored)]
    return missing + [f"{origin} → {target} is not in the code" for origin, target in sorted(stored - wanted)]


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "infin8 migrate"})
    try:
        yield connection
    finally:
        await connection.close()


async def _refuse_old_server(connection: Connection) -> None:
    version = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    if version < SERVER_VERSION_MIN:
        raise ConfigurationError(
            f"Postgres {SERVER_VERSION_MIN // 10_000} or later is needed, this is {version // 10_000}"
        )


async def _ensure_roles(connection: Connection) -> None:
    """Run roles.sql again while another database's migration touches the same roles."""
    statements = (FOLDER / "roles.sql").read_text(encoding="utf-8")
    for trial in range(1, ROLES_TRIES + 1):
        try:
            await connection.execute(statements)
            break
        except asyncpg.InternalServerError:  # "tuple concurrently updated"
            if trial == ROLES_TRIES:
                raise
            await asyncio.sleep(0.05 * trial)
    await _refuse_mighty_roles(connection)


async def _refuse_mighty_roles(connection: Connection) -> None:
    mighty = await connection.fetchval(
        """
        SELECT string_agg(rolname, ', ') FROM pg_roles
        WHERE (rolname IN ('infin8_owner', 'infin8_app', 'infin8_operator') AND (rolsuper OR rolbypassrls))
           OR (rolname IN ('infin8_app', 'infin8_operator') AND pg_has_role(oid, 'infin8_owner', 'MEMBER'))
        """
    )
    if mighty:
        raise ConfigurationError(
            f"the roles {mighty} must be neither superuser nor BYPASSRLS nor members of infin8_owner; alter them first"
        )


async def _apply(connection: Connection, migrations: list[Migration], functions: list[str]) -> list[str]:
    async with connection.transaction():
        await connection.execute("SET LOCAL ROLE infin8_owner")
        await connection.execute("SET LOCAL search_path = public, pg_temp")
        # A function may name another that stands in a later file.
        await connection.execute("SET LOCAL check_function_bodies = off")
        await _create_journal(connection)
        applied = await _applied_checksums(connection)
        _refuse_other_history(migrations, applied)
        pending = [migration for migration in migrations if migration.name not in applied]
        for migration in pending:
            await _apply_one(connection, migration)
        for statements in functions:
            await connection.execute(statements)
    return [migration.name for migration in pending]


async def _create_journal(connection: Connection) -> None:
    await connection.execute(
        """
        CREATE TABLE IF NOT EXISTS schema_migrations (
            name text PRIMARY KEY,
            checksum text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """
    )


async def _apply_one(connection: Connection, migration: Migration) -> None:
    await connection.execute(migration.sql)
    await connection.execute(
        "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)", migration.name, migration.checksum
    )


async def _applied_checksums(connection: Connection) -> dict[str, str]:
    if await connection.fetchval("SELECT to_regclass('public.schema_migrations')") is None:
        return {}
    rows = await connection.fetch("SELECT name, checksum FROM schema_migrations ORDER BY name")
    return {row["name"]: row["checksum"] for row in rows}


def _refuse_other_history(migrations: list[Migration], applied: Mapping[str, str]) -> None:
    shipped = {migration.name: migration.checksum for migration in migrations}
    unknown = sorted(set(applied) - set(shipped))
    if unknown:
        raise ConfigurationError(
            f"the database was migrated by a newer version ({', '.join(unknown)} is unknown here); update this program"
        )
    changed = sorted(name for name, checksum in applied.items() if shipped[name] != checksum)
    if changed:
        raise ConfigurationError(
            f"the migration {', '.join(changed)} was changed after it was applied; restore it and add a new one"
        )
