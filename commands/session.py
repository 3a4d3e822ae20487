"""What a command works with: settings, terminal, who acts, and connections that are opened when first asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self
from urllib.parse import quote
from uuid import UUID

from pydantic import SecretStr

from commands.exits import CommandError, ExitCode, not_found, unreachable
from commands.terminal import Terminal
from config import Settings, environment_has_temporal
from db.overview import FOUND_MAX, PREFIX_CHARACTERS_MIN, FoundWorkflow, find_workflows
from db.pool import Connection, Database
from domain.identifiers import temporal_workflow_id

if TYPE_CHECKING:
    from temporalio.client import Client

CONNECT_SECONDS_MAX = 8.0


class Session:
    """One command's life. Use it as ``async with``: what was opened is closed."""

    def __init__(self, settings: Settings, terminal: Terminal, actor: str = "") -> None:
        self.settings = settings
        self.terminal = terminal
        self.actor = actor
        self._exits = AsyncExitStack()
        self._app: Database | None = None
        self._operator: Database | None = None
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    @asynccontextmanager
    async def transaction(self, organization_id: UUID) -> AsyncIterator[Connection]:
        """As the application's role: one organization's rows."""
        if self._app is None:
            self._app = await self._connect(self.settings.postgres_dsn, "INFIN8_POSTGRES_DSN")
        async with self._app.transaction(organization_id) as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """As the operator's role, which sees all organizations; read-only."""
        if self._operator is None:
            self._operator = await self._connect(self.settings.postgres_operator_dsn, "INFIN8_POSTGRES_OPERATOR_DSN")
        async with self._operator.reading() as connection:
            yield connection

    async def _connect(self, dsn: SecretStr | None, name: str) -> Database:
        if dsn is None:
            raise unreachable(
                f"no database: the stack of {self.settings.state_dir} is not up; run `starter.py up`, or set {name}",
                "DatabaseUnavailableError",
            )
        database = await Database.connect(
            dsn.get_secret_value(), size_max=2, acquire_timeout_seconds=CONNECT_SECONDS_MAX, application_name="starter"
        )
        self._exits.push_async_callback(database.close)
        return database

    async def client(self) -> "Client":
        """Temporal's client; raises within CONNECT_SECONDS_MAX when no server answers."""
        if self._client is None:
            if self.settings.temporal_address is None and not environment_has_temporal():
                raise unreachable(
                    f"no Temporal server: the stack of {self.settings.state_dir} is not up; "
                    "run `starter.py up`, or set TEMPORAL_ADDRESS"
                )
            from worker import connect_temporal

            try:
                async with asyncio.timeout(CONNECT_SECONDS_MAX):
                    self._client = await connect_temporal(self.settings)
            except TimeoutError:
                message = f"Temporal does not answer at {self.settings.temporal_address}: check the address and network"
                raise unreachable(message) from None
        return self._client

    async def find(self, text: str) -> FoundWorkflow:
        """The workflow with this id, beginning of an id or name."""
        wanted = text.strip()
        async with self.reading() as connection:
            found = await find_workflows(connection, wanted)
        if not found:
            raise not_found(f"no workflow has the id or name {wanted!r}; see `starter.py list`")
        if len(found) > 1:
            named = ", ".join(f"{one.name} ({one.workflow_id})" for one in found[: FOUND_MAX - 1])
            more = " and more" if len(found) == FOUND_MAX else ""
            message = f"{wanted!r} fits several workflows: {named}{more}; give more of the id"
            raise CommandError("BadInputError", message, ExitCode.BAD_INPUT)
        return found[0]

    def ui_url(self, organization_id: UUID, workflow_id: UUID) -> str | None:
        """The run in Temporal's UI; None where no UI is known (INFIN8_TEMPORAL_UI)."""
        if not self.settings.temporal_ui:
            return None
        run = quote(temporal_workflow_id(organization_id, workflow_id), safe="")
        namespace = quote(self.settings.temporal_namespace, safe="")
        return f"{self.settings.temporal_ui.rstrip('/')}/namespaces/{namespace}/workflows/{run}"


def shortest_id(workflow_id: UUID) -> str:
    """Enough of an id for people to type."""
    return str(workflow_id)[: max(8, PREFIX_CHARACTERS_MIN)]
