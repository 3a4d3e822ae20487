"""``doctor``: everything a run needs, checked one by one, each with what to do about it."""

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import SecretStr

from commands.exits import ExitCode, report_of, unreachable
from commands.local_stack import Answers, answers_of, read_note, settings_of_worker
from commands.session import CONNECT_SECONDS_MAX, Session
from commands.terminal import counted
from config import SANDBOX_KEY, Settings
from db.migrate import check_parity, pending_migrations
from db.overview import connected_role
from db.pool import Database
from domain.errors import ConfigurationError
from domain.language import Route
from domain.states import LEGAL_TRANSITIONS, State
from domain.wordpress import WordPressSite, WordPressSites

PYTHON_MIN = (3, 11)
NEEDED = ("temporalio", "asyncpg", "pydantic", "openai", "httpx2", "aiohttp", "trafilatura", "typer", "rich")
SET_UP = "run `make setup`"
GO_UP = "run `starter.py up` for a server on this machine"


@dataclass(frozen=True)
class Check:
    """``exit_code`` is what a failure of it ends the command with; ``what_to_do`` is empty when it is ok."""

    name: str
    is_ok: bool
    detail: str
    what_to_do: str = ""
    exit_code: ExitCode = ExitCode.DONE


Checking = Callable[[Session], Awaitable[Check]]


async def doctor(session: Session) -> ExitCode:
    """5 when a server can't be reached, else 2 when something is set up wrongly, else 0."""
    checks = []
    async for check in _checks(session):
        checks.append(check)
        _say(session, check)
    failed = [check for check in checks if not check.is_ok]
    if session.terminal.as_json:
        plain = [{key: value for key, value in asdict(check).items() if key != "exit_code"} for check in checks]
        session.terminal.emit({"is_ok": not failed, "checks": plain})
    elif failed:
        session.terminal.say(f"{counted(len(failed), 'thing')} to mend", "red")
    else:
        session.terminal.say("everything is in place", "green")
    return max((check.exit_code for check in failed), default=ExitCode.DONE)


def _say(session: Session, check: Check) -> None:
    mark, style = ("✔", "") if check.is_ok else ("✘", "red")
    session.terminal.say(f"  {mark} {check.name:<24} {check.detail}", style)
    if check.what_to_do:
        session.terminal.say(f"    {'':<24} {check.what_to_do}", "yellow")


async def _checks(session: Session) -> AsyncIterator[Check]:
    yield check_python()
    yield check_folder("state folder", session.settings.state_dir, "INFIN8_STATE_DIR")
    yield check_folder("output folder", session.settings.output_dir, "INFIN8_OUTPUT_DIR")
    settings = session.settings
    yield await _check_role("Postgres, application", settings.postgres_dsn, "INFIN8_POSTGRES_DSN")
    yield await _check_role("Postgres, operator", settings.postgres_operator_dsn, "INFIN8_POSTGRES_OPERATOR_DSN")
    if settings.postgres_admin_dsn is None:
        yield Check("Postgres, admin", True, "not set: migrations are applied elsewhere (INFIN8_POSTGRES_ADMIN_DSN)")
    else:
        yield await _check_admin(settings.postgres_admin_dsn)
    for name, checking in _server_checks():
        try:
            yield await checking(session)
        except Exception as error:  # each check stands alone, whatever it met
            yield failed_check(name, error)
    async for check in _check_wordpress(session):
        yield check


def _server_checks() -> Sequence[tuple[str, Checking]]:
    return (
        ("migrations", _check_migrations),
        ("graph of states", _check_parity),
        ("Temporal", _check_temporal),
        ("search attributes", _check_search_attributes),
        ("worker", _check_worker),
        ("key", _check_key),
        ("models", _check_models),
    )


def failed_check(name: str, error: Exception, what_to_do: str = "") -> Check:
    report = report_of(error)
    code = ExitCode.UNREACHABLE if report.exit_code is ExitCode.UNREACHABLE else ExitCode.BAD_INPUT
    return Check(name, False, report.message, what_to_do, code)


# This machine ----------------------------------------------------------------------------------------------------


def check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        wanted = ".".join(map(str, PYTHON_MIN))
        return Check("Python", False, f"{version}; {wanted} or newer is needed", SET_UP, ExitCode.BAD_INPUT)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return Check("Python", False, f"{', '.join(missing)} not installed", SET_UP, ExitCode.BAD_INPUT)
    return Check("Python", True, f"{version}, temporalio {importlib.metadata.version('temporalio')}")


def check_folder(name: str, folder: Path, setting: str) -> Check:
    """Writable, or to be made in a folder that is."""
    folder = folder.absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return Check(name, True, str(folder) + ("" if nearest == folder else " (made when it is needed)"))
    detail = f"{folder} can't be written: {nearest} is {'not ours' if nearest.is_dir() else 'no folder'}"
    return Check(name, False, detail, f"choose another with {setting}", ExitCode.BAD_INPUT)


# Postgres --------------------------------------------------------------------------------------------------------


async def _check_role(name: str, dsn: SecretStr | None, setting: str) -> Check:
    if dsn is None:
        return Check(name, False, "no address", f"{GO_UP}, or set {setting}", ExitCode.UNREACHABLE)
    try:
        async with _database(dsn) as database, database.reading() as connection:
            role, is_mighty = await connected_role(connection)
    except Exception as error:  # whatever hinders, the other checks go on
        return failed_check(name, error, f"check {setting}")
    if is_mighty:
        detail = f"the role {role} is a superuser or passes row-level security by"
        return Check(name, False, detail, f"give {setting} the role that the migrations made", ExitCode.BAD_INPUT)
    return Check(name, True, f"as {role}")


async def _check_admin(dsn: SecretStr) -> Check:
    try:
        async with _database(dsn) as database, database.reading() as connection:
            role, _ = await connected_role(connection)
    except Exception as error:  # whatever hinders, the other checks go on
        return failed_check("Postgres, admin", error, "check INFIN8_POSTGRES_ADMIN_DSN")
    return Check("Postgres, admin", True, f"as {role}, for migrations only")


class _database:  # noqa: N801 -- used as a function
    """A connection for the time of a block."""

    def __init__(self, dsn: SecretStr) -> None:
        self._dsn = dsn

    async def __aenter__(self) -> Database:
        self._database = await Database.connect(
            self._dsn.get_secret_value(), size_max=1, acquire_timeout_seconds=CONNECT_SECONDS_MAX
        )
        return self._database

    async def __aexit__(self, *_: object) -> None:
        await self._database.close()


def _needed_dsn(settings: Settings) -> SecretStr:
    if settings.postgres_dsn is None:
        raise unreachable("not checked: Postgres has no address")
    return settings.postgres_dsn


async def _check_migrations(session: Session) -> Check:
    pending = await pending_migrations(_needed_dsn(session.settings).get_secret_value())
    if not pending:
        return Check("migrations", True, "all applied")
    can = session.settings.postgres_admin_dsn is not None
    what = "start a worker, it applies them" if can else "set INFIN8_POSTGRES_ADMIN_DSN and start a worker"
    return Check("migrations", False, f"{len(pending)} missing, {pending[0]} first", what, ExitCode.BAD_INPUT)


async def _check_parity(session: Session) -> Check:
    async with _database(_needed_dsn(session.settings)) as database:
        await check_parity(database)
    return Check("graph of states", True, f"{len(State)} states, {len(LEGAL_TRANSITIONS)} edges, code = database")


# Temporal --------------------------------------------------------------------------------------------------------


async def _check_temporal(session: Session) -> Check:
    client = await session.client()
    await client.service_client.check_health()
    where = f"{client.service_client.config.target_host}, namespace {client.namespace}"
    ui = session.settings.temporal_ui
    return Check("Temporal", True, where + (f", UI {ui}" if ui else ", no UI known (INFIN8_TEMPORAL_UI)"))


async def _check_search_attributes(session: Session) -> Check:
    await _reached(session)
    from worker import check_search_attributes
    from workflows.intent import SEARCH_ATTRIBUTES

    await check_search_attributes(await session.client())
    return Check("search attributes", True, f"all {len(SEARCH_ATTRIBUTES)} registered")


async def _reached(session: Session) -> None:
    """What stands on Temporal is not told of its absence again."""
    try:
        await session.client()
    except Exception:
        raise unreachable("not checked: Temporal is not reached") from None


async def _check_worker(session: Session) -> Check:
    await _reached(session)
    from temporalio.api.enums.v1 import TaskQueueType

    from commands.worker_process import is_polled

    queue = session.settings.task_queue
    if await is_polled(await session.client(), queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW):
        return Check("worker", True, f"one or more ask the queue {queue} for work")
    what = "run `starter.py up` or `worker.py`; runs wait until then"
    return Check("worker", False, f"nobody asks the queue {queue} for work", what, ExitCode.UNREACHABLE)


# The model provider ----------------------------------------------------------------------------------------------


async def _check_key(session: Session) -> Check:
    settings = session.settings
    if _asks_sandbox(settings):
        return Check("key", True, "the sandbox answers for the models, no key is needed")
    if _is_held_elsewhere(settings):
        return Check("key", True, "held by the worker of `starter.py up`, not by this terminal")
    key = settings.model_key.get_secret_value()
    return Check("key", True, f"for {settings.model_url}, {len(key)} characters")


def _asks_sandbox(settings: Settings) -> bool:
    """The stack's own worker says who answers; without one, the settings do."""
    note = read_note(settings.state_dir) if settings.sandbox_url else None
    answers = answers_of(settings) if note is None else note.answers
    return settings.sandbox_url is not None and answers is Answers.SANDBOX


def _is_held_elsewhere(settings: Settings) -> bool:
    return answers_of(settings) is Answers.SANDBOX and settings.sandbox_url is not None


async def _check_models(session: Session) -> Check:
    from providers.language_model import LanguageModel

    settings = session.settings
    asks_sandbox = _asks_sandbox(settings)
    if not asks_sandbox and _is_held_elsewhere(settings):
        return Check("models", True, "not asked for: the key is held by the worker of `starter.py up`")
    url = f"{settings.sandbox_url}/v1" if asks_sandbox else settings.model_url
    key = SecretStr(SANDBOX_KEY) if asks_sandbox else settings.model_key
    provider = LanguageModel(base_url=url, api_key=key, timeout_seconds=CONNECT_SECONDS_MAX)
    try:
        offered = await provider.list_models()
    finally:
        await provider.close()
    wanted = models_wanted(settings_of_worker(settings))
    missing = [model for model in wanted if model not in offered]
    if missing:
        detail = f"{url} does not offer {', '.join(missing)}"
        what = "set other models in the routes (INFIN8_STEPS__…__ROUTE__MODELS)"
        return Check("models", False, detail, what, ExitCode.BAD_INPUT)
    return Check("models", True, f"{', '.join(wanted)} at {url}")


def models_wanted(settings: Settings) -> list[str]:
    """Every model that a route names, each once."""
    steps = settings.step_settings(auto_approve_seeds=False)
    routes: tuple[Route, ...] = (
        steps.icp.route,
        steps.competitor.route,
        steps.article.outline_route,
        steps.article.section_route,
    )
    return list(dict.fromkeys(model for route in routes for model in route.models))


# Where articles go to --------------------------------------------------------------------------------------------


async def _check_wordpress(session: Session) -> AsyncIterator[Check]:
    """Each site that is set up: does it answer, are the credentials good, may they publish."""
    try:
        sites = session.settings.wordpress.named()
    except ConfigurationError as error:
        yield failed_check("WordPress", error)
        return
    if not sites:
        yield Check("WordPress", True, "no site is set up; briefs with publish.target wordpress are refused")
    for name, site in sites:
        yield await _check_wordpress_site(f"WordPress, {name}", site)


async def _check_wordpress_site(name: str, site: WordPressSite) -> Check:
    from providers.wordpress import WordPressPublisher
    from providers.wordpress_rest import RefusedError

    publisher = WordPressPublisher(WordPressSites(default=site), timeout_seconds=CONNECT_SECONDS_MAX)
    try:
        return Check(name, True, await publisher.check_site(site))
    except RefusedError as error:
        return Check(name, False, str(error), exit_code=ExitCode.BAD_INPUT)
    except Exception as error:  # each check stands alone, whatever it met
        return failed_check(name, error)
    finally:
        await publisher.close()
