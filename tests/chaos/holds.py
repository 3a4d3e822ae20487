"""Holding a run still at an exact moment: triggers that wait for a lock which nobody holds unless a cell does.

They stand in the cell's own database and are keyed by workflow, so that several runs are held at different moments.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tests.conftest import AdminSession
from tests.e2e.conftest import eventually

# number, event, table, condition, the column with the workflow's id
HOLDS: dict[str, tuple[int, str, str, str, str]] = {
    "before authorize commits": (1, "INSERT", "spend_attempts", "NEW.state = 'RESERVED'", "workflow_id"),
    "after authorize commits": (2, "UPDATE", "spend_attempts", "NEW.state = 'DISPATCHED'", "workflow_id"),
    "before its storing": (3, "UPDATE", "spend_attempts", "NEW.state = 'ANSWERED'", "workflow_id"),
    "before settle commits": (4, "UPDATE", "spend_attempts", "NEW.state = 'SETTLED'", "workflow_id"),
    "before the transition commits": (5, "UPDATE", "intent_workflows", "NEW.state = 'ICP_COMPLETED'", "id"),
    "after the transition commits": (6, "UPDATE", "intent_workflows", "NEW.state = 'COMPETITOR_PROCESSING'", "id"),
    "before the intent to publish": (7, "INSERT", "publications", "NEW.state = 'PENDING'", "workflow_id"),
    "page written, not noted": (8, "UPDATE", "publications", "NEW.state <> 'PENDING'", "workflow_id"),
    "site written, not completed": (9, "UPDATE", "intent_workflows", "NEW.state = 'COMPLETED'", "id"),
}


async def install_holds(admin: AdminSession) -> None:
    await admin.execute(
        """
        CREATE FUNCTION hold_here() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(TG_ARGV[0]::int, hashtext(to_jsonb(NEW) ->> TG_ARGV[1]));
            RETURN NEW;
        END
        $$
        """
    )
    for number, event, table, condition, column in HOLDS.values():
        await admin.execute(
            f"CREATE TRIGGER hold_{number} BEFORE {event} ON {table} FOR EACH ROW WHEN ({condition}) "
            f"EXECUTE FUNCTION hold_here({number}, {column})"
        )


@dataclass
class Holder:
    """A session that holds the locks of the runs which are to stop."""

    admin: AdminSession
    held: set[tuple[int, UUID]] = field(default_factory=set)
    _exit: Any = None
    _connection: Any = None

    async def __aenter__(self) -> "Holder":
        self._exit = self.admin.connection()
        self._connection = await self._exit.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.__aexit__(None, None, None)

    async def hold(self, name: str, workflow_id: UUID) -> None:
        await self._connection.execute("SELECT pg_advisory_lock($1, hashtext($2))", HOLDS[name][0], str(workflow_id))
        self.held.add((HOLDS[name][0], workflow_id))

    async def all_reached(self, seconds: float = 40) -> None:
        """Every run that is held stands at its moment now."""

        async def waiting() -> bool:
            standing: int = await self._connection.fetchval(
                """
                SELECT count(DISTINCT (classid, objid)) FROM pg_locks
                JOIN pg_database ON pg_database.oid = pg_locks.database
                WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
                """
            )
            return standing == len(self.held)

        await eventually(waiting, f"{len(self.held)} runs to stand at their moments", seconds)

    async def cut_waiting(self) -> None:
        """The sessions of a dead worker end, as keepalives would end them; what they wrote is rolled back."""
        await self._connection.execute(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND usename = 'infin8_app' AND application_name = 'infin8'
            """
        )

    async def release(self) -> None:
        await self._connection.execute("SELECT pg_advisory_unlock_all()")
        self.held.clear()
