"""The stack of this machine as commands bring it up: servers, migrations, and who answers for the models."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from commands.exits import CommandError, conflict
from commands.terminal import Terminal, duration
from config import Settings
from db.migrate import migrate
from sandbox.processes import FolderLock, LocalStackError, ProcessState, make_state_folder, process_state
from sandbox.stack import RunningStack, StackAddresses, find_stack, running_stack

NOTE_FILE = "worker.json"
TAKEN = "taken"
HELD_ELSEWHERE = "held by the worker"  # stands for a key in a process that calls no provider
SANDBOX_ANSWERS = "the sandbox answers for the models (demo text, real bookkeeping)"


class Answers(StrEnum):
    """Who answers for the models."""

    SANDBOX = "sandbox"
    OPENAI = "openai"
    ACCOUNT = "account"


class WorkerNote(BaseModel):
    """What a stack's own worker was started with, for the commands beside it; ``owner`` is its parent's pid."""

    model_config = ConfigDict(frozen=True)

    owner: int
    command: str
    answers: Answers
    queue: str


def answers_of(settings: Settings, *, sandbox_wanted: bool = False) -> Answers:
    """The sandbox only where no account is set up, or where it is asked for."""
    if sandbox_wanted or (settings.account_key is None and not settings.llm_base_url):
        return Answers.SANDBOX
    is_openai = settings.account_key == settings.openai_api_key and not settings.llm_base_url
    return Answers.OPENAI if is_openai else Answers.ACCOUNT


def with_answers(settings: Settings, answers: Answers) -> Settings:
    """Settings under which step settings are resolved as the worker with these answers needs them."""
    if answers is answers_of(settings):
        return settings
    nobody: dict[str, object] = dict.fromkeys(("llm_base_url", "llm_api_key", "openrouter_api_key", "openai_api_key"))
    key = {Answers.OPENAI: "openai_api_key", Answers.ACCOUNT: "llm_api_key"}.get(answers)
    return settings.model_copy(update=nobody | ({key: SecretStr(HELD_ELSEWHERE)} if key else {}))


def of_stack(settings: Settings, addresses: StackAddresses) -> Settings:
    """Settings that point to this stack, whatever the environment says."""
    return settings.model_copy(
        update={
            "postgres_dsn": SecretStr(addresses.postgres_dsn),
            "postgres_operator_dsn": SecretStr(addresses.postgres_operator_dsn),
            "postgres_admin_dsn": SecretStr(addresses.postgres_admin_dsn),
            "temporal_address": addresses.temporal_address,
            "temporal_namespace": addresses.temporal_namespace,
            "temporal_ui": addresses.temporal_ui or None,
            "sandbox_url": addresses.sandbox_url or None,
        }
    )


def worker_environment(settings: Settings, answers: Answers) -> dict[str, str]:
    """The environment of a worker of this stack: ours, with every address and, for the sandbox, its key replaced.

    ``settings`` are those of ``of_stack``. What a ``.env`` file says is overruled too, so nothing is left to it.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    environment |= {
        "INFIN8_STATE_DIR": str(settings.state_dir.absolute()),
        "INFIN8_OUTPUT_DIR": str(settings.output_dir.absolute()),
        "INFIN8_TASK_QUEUE": settings.task_queue,
        "INFIN8_POSTGRES_DSN": _plain(settings.postgres_dsn),
        "INFIN8_POSTGRES_OPERATOR_DSN": _plain(settings.postgres_operator_dsn),
        "INFIN8_RECONCILE__SCHEDULE_ID": settings.reconcile.schedule_id,
        "INFIN8_SANDBOX_URL": settings.sandbox_url or "",
        "TEMPORAL_ADDRESS": settings.temporal_address or "",
        "TEMPORAL_NAMESPACE": settings.temporal_namespace,
        "TEMPORAL_CONFIG_FILE": os.devnull,
    }
    if answers is Answers.SANDBOX:
        environment |= {
            "INFIN8_LLM_BASE_URL": f"{settings.sandbox_url}/v1",
            "INFIN8_LLM_API_KEY": "sandbox-key",
            "OPENROUTER_API_KEY": "",
            "OPENAI_API_KEY": "",
        }
    return environment


def _plain(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


# Which worker there is ---------------------------------------------------------------------------------------------


def read_note(state_dir: Path) -> WorkerNote | None:
    """The note of a living owner, None when there is none."""
    try:
        note = WorkerNote.model_validate_json((state_dir / NOTE_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return note if process_state(note.owner) is ProcessState.RUNNING else None


def settings_of_worker(settings: Settings) -> Settings:
    """Settings as the local stack's own worker has them, where one runs; a key may be set in its terminal only."""
    note = read_note(settings.state_dir) if settings.sandbox_url else None
    return settings if note is None else with_answers(settings, note.answers)


# Bringing it up ----------------------------------------------------------------------------------------------------


async def refuse_second(state_dir: Path) -> None:
    """Raises a conflict when this folder's stack is up or coming up."""
    folder = make_state_folder(state_dir)
    running = await find_stack(folder)
    if running is not None:
        raise _already_up(state_dir, f" (process {running.pids.stack})")
    try:
        FolderLock.acquire(folder / "stack.lock", refusal=TAKEN).release()
    except LocalStackError as error:
        if str(error) != TAKEN:
            raise
        raise _already_up(state_dir, "") from None


def _already_up(state_dir: Path, owner: str) -> CommandError:
    return conflict(
        f"the stack of {state_dir} is already up{owner}: use it, stop it with Ctrl-C where it runs, "
        "or choose another folder with INFIN8_STATE_DIR"
    )


@asynccontextmanager
async def stack_up(settings: Settings, terminal: Terminal, sites: Sequence[Path] = ()) -> AsyncIterator[Settings]:
    """Servers up and migrated, told in one line; settings that point to them. All of it stops with the block."""
    from workflows.intent import SEARCH_ATTRIBUTES

    async def prepare(addresses: StackAddresses) -> None:
        await migrate(addresses.postgres_admin_dsn)

    folders = [*sites, *([settings.sites_dir] if settings.sites_dir else [])]
    async with running_stack(
        settings.state_dir, prepare=prepare, search_attributes=SEARCH_ATTRIBUTES, sites_dirs=folders
    ) as stack:
        terminal.say(f"  {_started_words(stack)}")
        yield of_stack(settings, stack.addresses)


def _started_words(stack: RunningStack) -> str:
    postgres, temporal = stack.postgres, stack.temporal
    return (
        f"Postgres {postgres.version} up in {duration(postgres.startup_seconds)} · "
        f"Temporal {temporal.version} up in {duration(temporal.startup_seconds)} · "
        f"sandbox {stack.addresses.sandbox_url or 'off'}"
    )
