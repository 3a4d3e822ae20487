"""Connections to Postgres: one tenant per transaction, exact decimals, JSON as Python objects."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from uuid import UUID

import asyncpg

from db.errors import translated_errors
from domain.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = Any

CLOSE_TIMEOUT_SECONDS = 10.0
CLIENT_GRACE_SECONDS = 5.0
# Settings are wrong when a pool can't be opened. A login that was good then is refused for a while: a password is
# being changed, the database restored, nobody let in for maintenance.
REFUSED_LOGINS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)


class Database:
    """A pool of connections of one role.

    Errors of the database leave it as errors of ``domain.errors``. Connections that a restart of Postgres killed
    are replaced when they are next asked for; the call that meets a dead one raises DatabaseUnavailableError.
    """

    def __init__(
        self,
        dsn: str,
        *,
        size_min: int = 1,
        size_max: int = 10,
        statement_timeout_seconds: float = 10.0,
        acquire_timeout_seconds: float = 10.0,
        application_name: str = "infin8",
    ) -> None:
        self._acquire_timeout_seconds = acquire_timeout_seconds
        milliseconds = str(round(statement_timeout_seconds * 1000))
        self._pool = asyncpg.create_pool(
            dsn,
            min_size=size_min,
            max_size=size_max,
            init=register_codecs,
            timeout=acquire_timeout_seconds,
            # The server ends a slow statement; the client gives up later, for a server that no longer answers.
            command_timeout=statement_timeout_seconds + CLIENT_GRACE_SECONDS,
            server_settings={
                "application_name": application_name,
                "statement_timeout": milliseconds,
                # A worker that was stopped in the middle of a transaction must not keep its locks for ever.
                "idle_in_transaction_session_timeout": milliseconds,
            },
        )

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        size_min: int = 1,
        size_max: int = 10,
        statement_timeout_seconds: float = 10.0,
        acquire_timeout_seconds: float = 10.0,
        application_name: str = "infin8",
    ) -> Self:
        """Open ``size_min`` connections now; raises DatabaseUnavailableError or ConfigurationError if it can't."""
        database = cls(
            dsn,
            size_min=size_min,
            size_max=size_max,
            statement_timeout_seconds=statement_timeout_seconds,
            acquire_timeout_seconds=acquire_timeout_seconds,
            application_name=application_name,
        )
        with translated_errors():
            await database._pool
        return database

    async def close(self) -> None:
        """Wait for running transactions, up to CLOSE_TIMEOUT_SECONDS, then cut them off."""
        try:
            await asyncio.wait_for(self._pool.close(), CLOSE_TIMEOUT_SECONDS)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def transaction(self, organization_id: UUID) -> AsyncIterator[Connection]:
        """A transaction that sees and writes one organization's rows; commits when the block ends well."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SELECT set_config('app.organization_id', $1, true)", str(organization_id))
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A read-only transaction over one snapshot without an organization: the operator sees all tenants."""
        async with self._connection() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        with translated_errors():
            async with AsyncExitStack() as held:
                try:
                    connection = await held.enter_async_context(
                        self._pool.acquire(timeout=self._acquire_timeout_seconds)
                    )
                except REFUSED_LOGINS as error:
                    raise DatabaseUnavailableError(
                        f"the database lets nobody in just now ({error}); check its roles and its connections"
                    ) from error
                yield connection


async def register_codecs(connection: Connection) -> None:
    """jsonb as Python objects; numeric as Decimal, and nothing but Decimal or int goes in."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_encode_json, decoder=json.loads)
    await connection.set_type_codec("numeric", schema="pg_catalog", encoder=_encode_numeric, decoder=Decimal)


def _encode_json(value: Any) -> str:
    # json refuses Decimal: an amount in JSON is a string, made by whoever knows that it is one.
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _encode_numeric(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise TypeError(f"numeric takes Decimal or int, got {type(value).__name__} {value!r}")
    if not Decimal(value).is_finite():
        raise ValueError(f"numeric must be finite, got {value!r}")
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
