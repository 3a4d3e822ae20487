"""Makes a database ready for the workers: migrates it and gives the two roles that log in their passwords.

    python -m deploy.prepare_database

An entry point of its own for deployments, because only it holds the admin's address. The passwords are those in
INFIN8_POSTGRES_DSN and INFIN8_POSTGRES_OPERATOR_DSN, so a changed secret and another run rotate them. Safe to run
again, and several at once. Exit codes as the worker's: 0 done, 2 settings, 5 unreachable.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import sys
from urllib.parse import unquote, urlsplit

import asyncpg
from pydantic import SecretStr

from config import Settings, load_settings
from db.errors import translated_errors
from db.migrate import migrate
from domain.errors import ConfigurationError, PipelineError

EXIT_BAD_INPUT = 2
EXIT_UNREACHABLE = 5
SCRAM_ROUNDS = 4096
SALT_BYTES = 16


def login_of(dsn: SecretStr | None, setting: str, role: str) -> str:
    """The password in a DSN of this role; raises ConfigurationError where the DSN is another's or has none."""
    if dsn is None:
        raise ConfigurationError(f"{setting} is not set: it names the role {role} and its password")
    parts = urlsplit(dsn.get_secret_value())
    if parts.username != role:
        raise ConfigurationError(f"{setting} logs in as {parts.username!r}: the migrations made the role {role} for it")
    password = unquote(parts.password or "")
    if not password or not password.isascii():
        raise ConfigurationError(f"{setting} needs a password for {role}, of ASCII characters only")
    return password


def scram_verifier(password: str, salt: bytes) -> str:
    """What Postgres keeps of a password (RFC 5802, 7677), so that the password itself reaches no statement or log."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ROUNDS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${SCRAM_ROUNDS}:{salt_text}${stored_text}:{server_text}"


async def set_password(connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: str) -> None:
    verifier = scram_verifier(password, os.urandom(SALT_BYTES))
    # ALTER ROLE takes no parameters; the server itself quotes both.
    statement = await connection.fetchval(
        "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, verifier
    )
    await connection.execute(statement)


async def prepare(settings: Settings) -> list[str]:
    """The names of the migrations that were applied now. Nothing is changed when a DSN can't be used."""
    if settings.postgres_admin_dsn is None:
        raise ConfigurationError("INFIN8_POSTGRES_ADMIN_DSN is not set: the database is prepared by its admin")
    passwords = {
        "infin8_app": login_of(settings.postgres_dsn, "INFIN8_POSTGRES_DSN", "infin8_app"),
        "infin8_operator": login_of(settings.postgres_operator_dsn, "INFIN8_POSTGRES_OPERATOR_DSN", "infin8_operator"),
    }
    admin_dsn = settings.postgres_admin_dsn.get_secret_value()
    applied = await migrate(admin_dsn)
    with translated_errors():
        connection = await asyncpg.connect(admin_dsn, server_settings={"application_name": "infin8 prepare"})
        try:
            for role, password in passwords.items():
                await set_password(connection, role, password)
        finally:
            await connection.close()
    return applied


def main() -> int:
    try:
        applied = asyncio.run(prepare(load_settings()))
    except PipelineError as error:
        sys.stderr.write(f"prepare_database: {error}\n")
        return EXIT_BAD_INPUT if isinstance(error, ConfigurationError) else EXIT_UNREACHABLE
    sys.stdout.write(f"applied now: {', '.join(applied) or 'nothing, all was there'}; passwords set for both roles\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
