"""From a brief to a row and its run: the row is committed first, the run follows, a repeated start closes the gap."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from commands.exits import CommandError, ExitCode, conflict
from commands.session import Session
from db.overview import FoundWorkflow
from db.workflows import NewWorkflow, WorkflowRecord, create_workflow, load_workflow
from domain.brief import (
    Brief,
    brief_from_mapping,
    brief_hash,
    brief_warnings,
    default_name,
    normalized,
    parse_brief,
    parse_cap,
)
from domain.errors import BadInputError, IdempotencyConflictError
from domain.identifiers import bare_domain, organization_id_of, temporal_workflow_id, workflow_id_of
from domain.settings import StepSettings
from domain.states import State, is_terminal

NAME_CHARACTERS_MAX = 100


@dataclass(frozen=True)
class BriefFlags:
    """A brief given on the command line instead of in a file."""

    company: str | None = None
    url: str | None = None
    description: str | None = None
    competitors: Sequence[str] = ()
    articles: int | None = None

    @property
    def are_given(self) -> bool:
        return any([self.company, self.url, self.description, self.competitors, self.articles])


@dataclass(frozen=True)
class Started:
    """A workflow that has its row, and a run unless it had ended before; ``existing`` when the row was there."""

    record: WorkflowRecord
    existing: bool
    run_id: str | None


def read_brief(path: Path | None, flags: BriefFlags, cap: str | None = None) -> Brief:
    """Raises BadInputError before anything is started. ``cap`` replaces the brief's own."""
    if path is not None and flags.are_given:
        raise BadInputError("give a brief file or the flags --company, --url, --description, not both")
    if path is None and not flags.are_given:
        raise BadInputError("give a brief file (see briefs/), or --company, --url and --description")
    brief = _brief_of_file(path) if path is not None else _brief_of_flags(flags)
    return brief if cap is None else brief.model_copy(update={"cap_usd": cap_of(cap, "--cap")})


def cap_of(text: str, field: str) -> Decimal:
    return parse_cap(text.strip().removeprefix("$"), field)


def _brief_of_file(path: Path) -> Brief:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInputError(f"there is no brief at {path}; briefs/ has one to copy") from None
    except UnicodeDecodeError:
        raise BadInputError(f"{path} is not a text in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise BadInputError(f"{path} can't be read: {error.strerror}") from None
    return parse_brief(text, source=str(path))


def _brief_of_flags(flags: BriefFlags) -> Brief:
    given = {"name": flags.company, "url": flags.url, "description": flags.description}
    missing = [
        flag for flag, value in zip(("--company", "--url", "--description"), given.values(), strict=True) if not value
    ]
    if missing:
        raise BadInputError(f"{', '.join(missing)} is missing: a brief without a file needs all three")
    mapping: dict[str, Any] = {"organization": given, "competitors": list(flags.competitors)}
    if flags.articles is not None:
        mapping["articles"] = {"max": flags.articles}
    return brief_from_mapping(mapping)


def checked_name(name: str | None, brief: Brief) -> str:
    if name is None:
        return default_name(brief)
    tidy = unicodedata.normalize("NFC", " ".join(name.split()))
    if not tidy or len(tidy) > NAME_CHARACTERS_MAX:
        raise BadInputError(f"--name is {name!r}: it must have 1 to {NAME_CHARACTERS_MAX} characters", "name")
    if any(unicodedata.category(character).startswith("C") for character in tidy):
        raise BadInputError(f"--name is {name!r}: it must not contain control characters", "name")
    return tidy


async def start(session: Session, brief: Brief, *, name: str | None, settings: StepSettings) -> Started:
    """Temporal is asked for first: when it can't be reached, nothing is left behind."""
    from commands.publishing import check_target
    from commands.runs import run_of, start_run

    check_target(session.settings, brief)
    new = _new_workflow(brief, checked_name(name, brief), settings, session.actor)
    client = await session.client()
    existing = await _create(session, new)
    record = await load_record(session, new)
    if is_terminal(record.state):
        return Started(record, existing, (await run_of(client, record)).run_id)
    return Started(record, existing, await start_run(client, session.settings, record))


def _new_workflow(brief: Brief, name: str, settings: StepSettings, actor: str) -> NewWorkflow:
    organization_id = organization_id_of(brief.organization.url)
    return NewWorkflow(
        workflow_id=workflow_id_of(organization_id, name),
        organization_id=organization_id,
        domain=bare_domain(brief.organization.url),
        organization_name=brief.organization.name,
        name=name,
        brief=normalized(brief),
        brief_hash=brief_hash(brief),
        settings=settings.model_dump(mode="json"),
        started_by=actor,
        cap_usd=brief.cap_usd,
    )


async def _create(session: Session, new: NewWorkflow) -> bool:
    try:
        async with session.transaction(new.organization_id) as connection:
            return await create_workflow(connection, new)
    except IdempotencyConflictError as error:
        record = await _load(session, new)
        raise conflict(
            str(error),
            current=record.state if record else None,
            attempted=State.CREATED,
            kind=type(error).__name__,
        ) from error


async def load_record(session: Session, new: NewWorkflow) -> WorkflowRecord:
    record = await _load(session, new)
    if record is None:
        raise CommandError("DefectError", f"the row of {new.workflow_id} was not stored", ExitCode.DEFECT)
    return record


async def _load(session: Session, new: NewWorkflow) -> WorkflowRecord | None:
    async with session.transaction(new.organization_id) as connection:
        return await load_workflow(connection, new.workflow_id)


async def forecast_and_tell(session: Session, brief: Brief, *, auto_approve: bool) -> ExitCode:
    """``start --forecast``: what the brief would cost with the settings it would be started with."""
    from commands.costing import tell_forecast
    from commands.local_stack import settings_of_worker

    settings = settings_of_worker(session.settings).step_settings(auto_approve_seeds=auto_approve)
    return await tell_forecast(session, brief, settings)


async def start_and_tell(
    session: Session, brief: Brief, *, name: str | None, auto_approve: bool, waits: bool
) -> ExitCode:
    """``start``: says what was started, or that it was there already; with ``waits`` follows it."""
    from commands.local_stack import settings_of_worker
    from commands.watching import follow_to_exit

    settings = settings_of_worker(session.settings).step_settings(auto_approve_seeds=auto_approve)
    started = await start(session, brief, name=name, settings=settings)
    told = await _told_forecast(session, brief, settings, started.record if started.existing else None)
    warnings = [*brief_warnings(brief), *told.warnings]
    facts = started_object(session, started) | {"warnings": warnings, "forecast": told.facts}
    for warning in warnings:
        session.terminal.note(f"note: {warning}")
    session.terminal.say(f"  {told.words}")
    record = started.record
    if waits:
        found = FoundWorkflow.model_validate(record, from_attributes=True)
        return await follow_to_exit(session, found, facts=facts)
    if session.terminal.as_json:
        session.terminal.emit(facts)
    else:
        _tell(session, started, facts["ui_url"])
    return ExitCode.DONE


async def forecast_line(session: Session, brief: Brief, settings: StepSettings) -> str:
    """For people; a start never fails for want of a forecast."""
    return (await _told_forecast(session, brief, settings)).words


@dataclass(frozen=True)
class ToldForecast:
    """The line for people, the object for scripts (None where there is no forecast), and what to be warned of."""

    words: str
    facts: dict[str, Any] | None
    warnings: tuple[str, ...] = ()


async def _told_forecast(
    session: Session, brief: Brief, settings: StepSettings, record: WorkflowRecord | None = None
) -> ToldForecast:
    """Whatever keeps it from being made, the run is there and has to be told of."""
    from commands.costing import estimate_of, forecast_object, forecast_words, over_cap_words

    try:
        found = await estimate_of(session, brief, settings, record)
        is_over = record is not None and is_terminal(record.state)
        warnings = () if found.fits or is_over else (over_cap_words(found),)
        return ToldForecast(forecast_words(found), forecast_object(found), warnings)
    except Exception as error:  # a run that was started is never hidden by what is only said beside it
        words = f"no forecast: {' '.join(str(error).split()) or type(error).__name__}"
        return ToldForecast(words, None, (words,) if session.terminal.as_json else ())


def _tell(session: Session, started: Started, ui_url: str | None) -> None:
    record = started.record
    words = f"was there already, in {record.state}" if started.existing else "started"
    session.terminal.say(f"✔ {record.brief['organization']['name']} · {record.name} {words}", "bold")
    session.terminal.say(f"  starter.py watch {record.workflow_id}")
    if ui_url:
        session.terminal.say(f"  {ui_url}", "dim")


def started_object(session: Session, started: Started) -> dict[str, Any]:
    record = started.record
    return {
        "workflow_id": str(record.workflow_id),
        "existing": started.existing,
        "organization_id": str(record.organization_id),
        "temporal_workflow_id": temporal_workflow_id(record.organization_id, record.workflow_id),
        "run_id": started.run_id,
        "name": record.name,
        "state": record.state,
        "ui_url": session.ui_url(record.organization_id, record.workflow_id),
    }
