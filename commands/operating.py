"""Writing as the operator: through the functions that only its role may call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from commands.exits import CommandError, ExitCode, not_found, unreachable
from commands.session import Session
from db.plans import FOUND_MAX, find_organizations
from db.pool import Connection, Database
from domain.plans import OrganizationPlan

NO_ORGANIZATION = UUID(int=0)  # prices and plans are nobody's: no row of a tenant is seen or written


@asynccontextmanager
async def operator_database(session: Session) -> AsyncIterator[Database]:
    """The database under the operator's role, closed with the block."""
    dsn = session.settings.postgres_operator_dsn
    if dsn is None:
        raise unreachable(
            f"no database: the stack of {session.settings.state_dir} is not up; run `starter.py up`, "
            "or set INFIN8_POSTGRES_OPERATOR_DSN",
            "DatabaseUnavailableError",
        )
    database = await Database.connect(dsn.get_secret_value(), size_max=2, application_name="starter")
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def operator_transaction(session: Session, organization_id: UUID = NO_ORGANIZATION) -> AsyncIterator[Connection]:
    """One transaction of the operator's role, for one organization or for what belongs to none."""
    async with operator_database(session) as database, database.transaction(organization_id) as connection:
        yield connection


async def find_organization(session: Session, text: str) -> OrganizationPlan:
    """The organization with this domain, name, id or beginning of an id."""
    wanted = text.strip()
    async with session.reading() as connection:
        found = await find_organizations(connection, wanted)
    if not found:
        raise not_found(f"no organization has the domain, name or id {wanted!r}; see `starter.py costs --margin`")
    if len(found) > 1:
        named = ", ".join(f"{one.domain} ({one.organization_id})" for one in found[: FOUND_MAX - 1])
        message = f"{wanted!r} fits several organizations: {named}; give the domain"
        raise CommandError("BadInputError", message, ExitCode.BAD_INPUT)
    return found[0]
