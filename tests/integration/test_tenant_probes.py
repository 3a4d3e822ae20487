"""A second organization sees, changes and infers nothing (L20): a probe for every function, key and table there is.

What has to be probed is listed by the database's catalogue and by inspecting ``db``; arguments are made from the names
and types of the parameters. A function that needs more than that fails here until it is given its arguments, one whose
probe could not notice anything fails too.
"""

import importlib
import inspect
import pkgutil
import re
import types
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import BaseModel

import db
from db import pages, plans, reconciliation, spend, workflows
from db.pool import Connection, Database
from domain.citations import CitedPage
from domain.errors import PipelineError
from domain.money import Usage
from domain.pages import KeptAnswer
from domain.plans import PlanChange
from domain.progress import WorkflowRef
from domain.reconciliation import ResolutionKind
from domain.spend import NewAttempt, ProviderRequest
from domain.states import State, Step
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase, legal_path, new_workflow, walk
from tests.integration.money_cases import DROPPED, Till, an_answer, an_ask, chat

# Everybody's: what they answer depends on no organization.
WITHOUT_A_TENANT = {
    "canonical_model", "due_resolution", "price_at", "request_hold", "round_up_usd", "spend_month", "usage_cost",
    "usd_text",
    "db.prices.canonical_model", "db.prices.price_of",
    "db.overview.database_time", "db.overview.connected_role",
    "add_model_alias", "add_model_price", "plan_price_at", "set_plan",
    "db.prices.add_alias", "db.prices.add_price", "db.prices.prices_of", "db.plans.plan_history", "db.plans.set_plan",
    "db.money_decisions.price_changes",
}  # fmt: skip
# Not called with a connection of a role that serves tenants.
NOT_FOR_TENANTS = {
    "db.migrate": "run by the database's admin",
    "db.errors": "no statements",
    "db.pool": "no statements",
}
BLIND_FOR_A_REASON = {
    "db.reconciliation.imbalances": "tells of counters that are not the sums of their rows, and there are none",
    "db.reconciliation.due_attempts": "the operator's, who is told of all tenants whatever the organization",
}
PLAN = "probed"
# Keys that nobody can choose, so that nobody can try them.
MADE_BY_THE_DATABASE = {"ai_usage_ledger_pkey", "spend_alerts_pkey"}


@dataclass(frozen=True)
class Names:
    """Whom a call speaks of: rows that exist for somebody, or rows of nobody."""

    organization_id: UUID
    workflow_id: UUID
    article_id: UUID
    ids: dict[str, UUID] = field(default_factory=dict)
    domain: str = "nobody.example"
    name: str = "no name"

    def id(self, name: str) -> UUID:
        return self.ids.setdefault(name, uuid4())

    def ask(self) -> NewAttempt:
        return an_ask(MadeWorkflow(self.workflow_id, self.organization_id, version=4), 9, slot="probe")


def nobody() -> Names:
    return Names(uuid4(), uuid4(), uuid4(), domain=f"{uuid4()}.example", name=str(uuid4()))


# Arguments ----------------------------------------------------------------------------------------------------

BY_NAME: dict[str, Callable[[Names], Any]] = {
    "organization_id": lambda n: n.organization_id,
    "workflow_id": lambda n: n.workflow_id,
    "workflow_ids": lambda n: [n.workflow_id],
    "article_id": lambda n: n.article_id,
    "attempt_id": lambda n: n.id("unknown"),
    "attempt_ids": lambda n: [n.id("answered")],
    "cluster_id": lambda n: n.id("cluster"),
    "publication_id": lambda n: n.id("publication"),
    "idempotency_key": lambda n: n.id("settled"),
    "ledger_key": lambda n: n.id("settled"),
    "plan_key": lambda _: PLAN,
    "by": lambda _: [],
    "original": lambda n: n.id("settled"),
    "key": lambda _: uuid4(),
    "amount": lambda _: Decimal("0.00001"),
    "transition_id": lambda _: uuid4(),
    "decision_id": lambda _: uuid4(),
    "page_id": lambda _: uuid4(),
    "claim": lambda _: 4,
    "ask": lambda _: 9,
    "step": lambda _: Step.ICP,
    "expected_state": lambda _: State.ICP_PROCESSING,
    "next_state": lambda _: State.CANCELLED,
    "expected_version": lambda _: 4,
    "revision": lambda _: 1,
    "section": lambda _: 1,
    "position": lambda _: 1,
    "text": lambda n: n.name,
    "domain": lambda n: n.domain,
    "name": lambda n: n.name,
    "site": lambda _: "a",
    "sites": lambda _: ["a"],
    "keyword": lambda _: "a",
    "url": lambda _: "a",
    "hub": lambda _: "a",
    "role": lambda _: "hub",
    "mode": lambda _: "publish",
    "target": lambda _: "files",
    "slug": lambda _: "a",
    "decision": lambda _: "approved",
    "is_own_site": lambda _: True,
    "limit": lambda _: 50,
    "month": lambda _: this_month(),
    "cap_usd": lambda _: Decimal(9),
    "generation_id": lambda _: "gen-probe",
    "model": lambda _: "openai/gpt-4o-mini",
    "http_status": lambda _: 200,
    "result": lambda _: an_answer(),
    "sources": lambda _: [{"url": "a"}],
}
BY_TYPE: dict[Any, Any] = {
    str: "a", int: 1, float: 0.001, bool: True, Decimal: Decimal(1), date: date(2025, 1, 1), Any: None,
    datetime: datetime(2025, 1, 1, tzinfo=UTC), dict: {}, type(None): None, object: {}, bytes: b"x",
}  # fmt: skip
# Where names and types are not enough: arguments by function, the rest as above.
BY_FUNCTION: dict[str, dict[str, Callable[[Names], Any]]] = {
    "db.spend.authorize": {"attempts": lambda n: [n.ask()]},
    "db.spend.decisions": {"attempt_ids": lambda n: [n.id("settled"), n.id("reused"), n.id("refused")]},
    "db.spend.dispatch": {"attempt_id": lambda n: n.id("reserved")},
    "db.spend.store_answer": {"answer": lambda _: an_answer()},
    "db.spend.reject": {"attempt_id": lambda n: n.id("settled")},
    "db.articles.set_article_state": {"state": lambda _: "FAILED"},
    "db.articles.store_outline": {"revision": lambda _: 2},
    "db.publications.store_result": {"state": lambda _: "PUBLISHED", "attempt_id": lambda n: n.id("id")},
    "db.publications.keep_external_id": {"instead_of": lambda _: None},
    "db.publications.begin_change": {"state": lambda _: "UNPUBLISHING", "change_id": lambda n: n.id("id")},
    "db.publications.end_change": {
        "state": lambda _: "UNPUBLISHED",
        "change_id": lambda n: n.id("id"),
        "attempt_id": lambda n: n.id("id"),
    },
    "db.publications.is_in_change": {"change_id": lambda n: n.id("id")},
    "db.publications.take_up": {"attempt_id": lambda _: uuid4()},
    "db.publications.take_up_change": {"attempt_id": lambda _: uuid4(), "change_id": lambda n: n.id("id")},
    "db.publications.take_up_all": {"attempt_id": lambda _: uuid4(), "states": lambda _: ["PENDING"]},
    "db.publications.is_newest_attempt": {"attempt_id": lambda n: n.id("id")},
    "db.publications.store_event": {"event": lambda _: "UNPUBLISHED", "event_id": lambda _: uuid4()},
    "db.cited_pages.store_cited_page": {
        "page": lambda _: CitedPage(position=5, cited_url="b", url="b", title="b", passages=("b",))
    },
    "db.keyword_vectors.load_vectors": {"texts": lambda _: ["a"]},
    "db.keyword_vectors.load_organization_vectors": {"texts": lambda _: ["a"]},
    "db.keyword_vectors.store_vectors": {"vectors": lambda _: {"b": [1.0]}},
    "db.workflows.set_failure": {"failure": lambda _: None},
    "authorize_attempts": {"asks": lambda n: [spend._ask_facts(n.ask())]},
    "dispatch_attempt": {"attempt_id": lambda n: n.id("reserved")},
    "store_answer": {"usage": lambda _: {"prompt_tokens": 1, "completion_tokens": 1}},
    "reject_answer": {"attempt_id": lambda n: n.id("settled")},
    "db.reminders.load_waiting": {"workflow_ids": lambda n: [n.id("waiting")]},
    "db.reconciliation.due_attempts": {"kinds": lambda _: list(ResolutionKind)},
    "db.plans.find_organizations": {"text": lambda n: n.domain},
    "db.cost_reports.drift_records": {"share_max": lambda _: Decimal(0), "usd_max": lambda _: Decimal(0)},
    "thaw_scope": {"month": lambda _: None},
    "freeze_scope": {"month": lambda _: None},
    "db.reconciliation.thaw_scope": {"month": lambda _: None},
    "db.reconciliation.freeze_scope": {"month": lambda _: None},
    "check_workflow_cost_limit": {"estimated_cost": lambda _: Decimal("0.0001")},
}


def argument(function: str, name: str, type_: Any, names: Names) -> Any:
    given = BY_FUNCTION.get(function, {})
    plain = name.removeprefix("p_")
    if plain in given:
        return given[plain](names)
    origin, inner = typing.get_origin(type_), typing.get_args(type_)
    if inspect.isclass(type_) and issubclass(type_, BaseModel):
        return made(function, type_, names)
    if origin in (Sequence, Collection, list, tuple, set, frozenset) and plain not in BY_NAME:
        return [argument(function, plain.removesuffix("s"), inner[0], names)]
    if plain in BY_NAME:
        return BY_NAME[plain](names)
    if origin in (typing.Union, types.UnionType):
        return argument(function, name, next(one for one in inner if one is not type(None)), names)
    if origin is typing.Annotated:
        return argument(function, name, inner[0], names)
    if origin in (Mapping, dict):
        return {}
    if inspect.isclass(type_) and issubclass(type_, Enum):
        return next(iter(type_))
    if type_ in BY_TYPE:
        return BY_TYPE[type_]
    raise AssertionError(f"{function} has no probe: say in BY_NAME or BY_FUNCTION what {name} ({type_}) is to be")


def made(function: str, model: type[BaseModel], names: Names) -> BaseModel:
    if issubclass(model, NewAttempt):
        return names.ask()
    if issubclass(model, ProviderRequest):
        return chat()
    if issubclass(model, Usage):
        return Usage(prompt_tokens=1, completion_tokens=1, cost_usd=Decimal("0.0001"))
    hints = typing.get_type_hints(model, include_extras=True)
    facts = {name: argument(function, name, hints[name], names) for name in model.model_fields}
    return model.model_validate(facts)


# Functions ----------------------------------------------------------------------------------------------------

Probe = Callable[[Connection, Names], Awaitable[Any]]


def functions_of_the_package() -> dict[str, Callable[..., Awaitable[Any]]]:
    """Every public coroutine function of ``db`` that works on a caller's connection."""
    found = {}
    for module_info in pkgutil.iter_modules(db.__path__):
        module = importlib.import_module(f"db.{module_info.name}")
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                found[f"{module.__name__}.{name}"] = function
    return {name: one for name, one in found.items() if name.rpartition(".")[0] not in NOT_FOR_TENANTS}


def probe_in_python(name: str, function: Callable[..., Awaitable[Any]]) -> Probe:
    async def probe(connection: Connection, names: Names) -> Any:
        hints = typing.get_type_hints(function, include_extras=True)
        positional, named = [], {}
        for parameter in list(inspect.signature(function).parameters.values())[1:]:
            value = argument(name, parameter.name, hints[parameter.name], names)
            if parameter.kind is parameter.KEYWORD_ONLY:
                named[parameter.name] = value
            else:
                positional.append(value)
        return await function(connection, *positional, **named)

    return probe


SQL_TYPES = {
    "uuid": UUID, "uuid[]": list[UUID], "text": str, "text[]": list[str], "jsonb": dict, "numeric": Decimal,
    "integer": int, "bigint": int, "boolean": bool, "double precision": float, "date": date,
    "timestamp with time zone": datetime, "interval": None,
}  # fmt: skip


@dataclass(frozen=True)
class SqlFunction:
    name: str
    parameters: tuple[tuple[str, str], ...]
    for_app: bool

    def probe(self) -> Probe:
        async def probe(connection: Connection, names: Names) -> Any:
            values = [argument(self.name, name, SQL_TYPES[type_], names) for name, type_ in self.parameters]
            places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
            return [tuple(row) for row in await connection.fetch(f"SELECT * FROM {self.name}({places})", *values)]

        return probe


async def functions_of_the_database(database: TenantDatabase) -> list[SqlFunction]:
    """Every function that a role which logs in may run, with its arguments; no trigger can be run."""
    rows = await database.admin.fetch(
        """
        SELECT proname, has_function_privilege('infin8_app', oid, 'EXECUTE') AS for_app,
            coalesce((SELECT array_agg(array[proargnames[position]::text, format_type(type, NULL)] ORDER BY position)
                      FROM unnest(proargtypes) WITH ORDINALITY AS argument (type, position)), '{}') AS parameters
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind = 'f' AND prorettype <> 'trigger'::regtype
            AND (has_function_privilege('infin8_app', oid, 'EXECUTE')
                 OR has_function_privilege('infin8_operator', oid, 'EXECUTE'))
        """
    )
    return [
        SqlFunction(row["proname"], tuple((one[0], one[1]) for one in row["parameters"]), row["for_app"])
        for row in rows
    ]


async def probes_of(database: TenantDatabase) -> dict[str, tuple[Database, Probe]]:
    """What to call, and as which role: the operator's only where the application has no right to."""
    probes = {one.name: one.probe() for one in await functions_of_the_database(database)}
    probes |= {name: probe_in_python(name, function) for name, function in functions_of_the_package().items()}
    roles: dict[str, tuple[Database, Probe]] = {}
    for name, probe in probes.items():
        if name not in WITHOUT_A_TENANT:
            answer = await answer_of(database.app, uuid4(), nobody(), probe, commits=False)
            roles[name] = (database.operator if "permission denied for" in answer else database.app, probe)
    return roles


# Answers ------------------------------------------------------------------------------------------------------

A_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
A_TIME = re.compile(
    r"datetime\.datetime\([^)]*(\([^)]*\))?[^)]*\)|(?<=seconds=)[\d.e-]+"
    r"|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.\d]*(\+00:00|Z)?"
)


class UndoneError(Exception):
    pass


@asynccontextmanager
async def undone(database: Database, organization_id: UUID) -> AsyncIterator[Connection]:
    try:
        async with database.transaction(organization_id) as connection:
            yield connection
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            raise UndoneError
    except UndoneError:
        pass


def plain(answer: Any, names: Names) -> str:
    """An answer without what differs anyway: ids that were asked for, other UUIDs, times."""
    text = repr(answer).replace(names.name, "NAME").replace(names.domain, "DOMAIN")
    return A_TIME.sub("TIME", A_UUID.sub("UUID", text))


async def answer_of(database: Database, as_organization: UUID, names: Names, probe: Probe, *, commits: bool) -> str:
    try:
        if commits:
            async with database.transaction(as_organization) as connection:
                return plain(await probe(connection, names), names)
        answers = []
        async with undone(database, as_organization) as connection:
            answers.append(plain(await probe(connection, names), names))
        return answers[0]
    except PipelineError as error:
        return plain((type(error).__name__, str(error), error.facts()), names)
    except asyncpg.PostgresError as error:
        return plain((error.sqlstate, str(error), error.detail, error.constraint_name), names)


# Tenants ------------------------------------------------------------------------------------------------------

ROWS = {
    "step_outputs": "workflow, tenant, 'icp', 4, '{}', '{\"level\": \"pass\"}'",
    "web_pages": "page, workflow, tenant, 'a', 'a', true, 'a', '[]', '[]', 'a'",
    "site_reads": "workflow, tenant, 'a', 4, 1",
    "seed_candidates": 'workflow, tenant, 4, \'[{"a": 1}]\', \'[{"code": "a"}]\'',
    "keywords": "keyword, workflow, tenant, 1, 'a', 0.5, 'a', '[{\"url\": \"a\"}]'",
    "seed_reviews": "decision, workflow, tenant, 4, 'reject', 'a', 'no'",
    "keyword_decisions": "decision, workflow, tenant, 1, 'a', 'approved', false",
    "reminders": "reminder, workflow, tenant, 'ICP_FAILED', 4, 1, '2025-01-01'",
    "keyword_clusters": "cluster, workflow, tenant, 4, 1, 'a', 'a', '[]'",
    "articles": (
        "article, workflow, tenant, cluster, 1, 'a', 'hub', 'NOT_BEGUN', 'a', "
        '\'[{"code": "cap_reached", "message": "a"}]\''
    ),
    "article_revisions": "article, tenant, 1, 4, '{}'",
    "article_sections": "article, tenant, 1, 1, 4, id, '{}'",
    "article_approvals": "article, tenant, workflow, 'a', 'a', transition",
    "cited_pages": "page, tenant, workflow, article, id, 0, 'a', 'a', 'a', '[\"a\"]'",
    "publications": "publication, article, workflow, tenant, 'files', 'publish', 'a', 'a', 'PENDING', 4, id, id",
    "publication_events": "page, publication, workflow, tenant, 'UNPUBLISHED', 'a'",
    "keyword_vectors": "workflow, tenant, 'openai/gpt-4o-mini', 'a', '{1}'",
    "kept_answers": "id, tenant, workflow, 'a', 200, 'a', 'x', 1",
    "cluster_overrides": "id, cluster, workflow, tenant, 'a', '[]', 'a', 'a'",
}
COLUMNS = {
    "step_outputs": "workflow_id, organization_id, step, claim, output, verdict",
    "web_pages": (
        "page_id, workflow_id, organization_id, site, url, is_own_site, title, headings, passages, content_text"
    ),
    "site_reads": "workflow_id, organization_id, site, claim, pages_read",
    "seed_candidates": "workflow_id, organization_id, claim, keywords, notes",
    "keywords": "keyword_id, workflow_id, organization_id, position, text, score, intent, sources",
    "seed_reviews": "decision_id, workflow_id, organization_id, shown_version, kind, actor, feedback",
    "keyword_decisions": "decision_id, workflow_id, organization_id, position, text, decision, is_own",
    "reminders": "reminder_id, workflow_id, organization_id, state, version, number, waiting_since",
    "keyword_clusters": "cluster_id, workflow_id, organization_id, claim, position, hub, intent, spokes",
    "articles": "article_id, workflow_id, organization_id, cluster_id, position, keyword, role, state, slug, reasons",
    "article_revisions": "article_id, organization_id, revision, claim, outline",
    "article_sections": "article_id, organization_id, revision, section, claim, attempt_id, content",
    "article_approvals": "article_id, organization_id, workflow_id, content_hash, approved_by, transition_id",
    "cited_pages": (
        "cited_page_id, organization_id, workflow_id, article_id, attempt_id, position, cited_url, url, title, passages"
    ),
    "publications": (
        "publication_id, article_id, workflow_id, organization_id, target, mode, slug, content_hash, state, claim,"
        " change_id, attempt_id"
    ),
    "publication_events": "event_id, publication_id, workflow_id, organization_id, event, actor",
    "keyword_vectors": "workflow_id, organization_id, model, text, vector",
    "kept_answers": "answer_id, organization_id, workflow_id, url, status, content_type, body, fresh_seconds",
    "cluster_overrides": "decision_id, cluster_id, workflow_id, organization_id, hub, overridden, actor, reason",
}
IDS_IN_ROWS = ("page", "keyword", "cluster", "publication", "transition", "decision", "reminder", "id")


async def insert_row(connection: Connection, table: str, names: Names) -> None:
    given = ", ".join(f"${number}::uuid AS {name}" for number, name in enumerate(IDS_IN_ROWS, start=4))
    await connection.execute(
        f"WITH given AS (SELECT $1::uuid AS workflow, $2::uuid AS tenant, $3::uuid AS article, {given})"
        f" INSERT INTO {table} ({COLUMNS[table]}) SELECT {ROWS[table]} FROM given",
        names.workflow_id,
        names.organization_id,
        names.article_id,
        *[names.id(name) for name in IDS_IN_ROWS],
    )


async def _at_work(database: TenantDatabase, domain: str) -> MadeWorkflow:
    new = new_workflow(domain=domain, cap_usd=Decimal("0.004")).model_copy(update={"settings": {"is_demo_text": True}})
    async with database.app.transaction(new.organization_id) as connection:
        await workflows.create_workflow(connection, new)
        created = MadeWorkflow(new.workflow_id, new.organization_id, name=new.name)
        return await walk(connection, created, legal_path(State.ICP_PROCESSING))


def again_ref(workflow: MadeWorkflow) -> WorkflowRef:
    return WorkflowRef(workflow_id=workflow.workflow_id, organization_id=workflow.organization_id)


async def furnish(database: TenantDatabase, make_workflow: MakeWorkflow, domain: str) -> Names:
    """An organization with rows in every table: attempts in several states, a failed step that is tried again."""
    made_workflow = await _at_work(database, domain)
    till = Till(database.app, made_workflow)
    settled = await till.paid(an_ask(till.workflow))
    async with database.app.transaction(made_workflow.organization_id) as connection:
        again = await walk(connection, made_workflow, [State.ICP_FAILED, State.ICP_PROCESSING])
    till = till.at(again)
    reused = an_ask(again)
    await till.authorize(reused)
    unknown = await till.sent(an_ask(again, 2, slot_hash="another question"))
    answered = await till.sent(an_ask(again, 3, slot_hash="another question"))
    async with database.app.transaction(again.organization_id) as connection:
        await spend.record_generation_id(connection, again.organization_id, unknown, "gen-probe")
    await till.store(unknown, DROPPED)
    await till.store(answered, an_answer())
    reserved = an_ask(again, 4, slot_hash="another question")
    refused = an_ask(again, 5, slot_hash="another question", request=chat("nobody/nothing"))
    await till.authorize(reserved, refused)
    await till.authorize(an_ask(again, 6, slot_hash="another question"), expires_after_seconds=0)
    ids = {
        "settled": settled, "reused": reused.attempt_id, "unknown": unknown, "answered": answered,
        "reserved": reserved.attempt_id, "refused": refused.attempt_id,
    }  # fmt: skip
    names = Names(again.organization_id, again.workflow_id, uuid4(), ids, domain, again.name)
    async with database.app.transaction(again.organization_id) as connection:
        for table in ROWS:
            await insert_row(connection, table, names)
        await pages.store_kept_answer(connection, again_ref(again), KeptAnswer(url="a", status=200, body=b"x"))
        await workflows.raise_cap(
            connection, again.workflow_id, again.organization_id, Decimal(2), decision_id=uuid4(), actor="a person"
        )
    frozen = await make_workflow(State.CREATED, domain=domain)
    names.ids["waiting"] = (await make_workflow(State.ICP_FAILED, domain=domain)).workflow_id
    async with database.operator.transaction(again.organization_id) as connection:
        for freeze_or_thaw in (reconciliation.freeze_scope, reconciliation.thaw_scope):
            await freeze_or_thaw(
                connection, names.organization_id, month=this_month(), decision_id=uuid4(), actor="a", reason="b"
            )
        await reconciliation.freeze_scope(
            connection,
            names.organization_id,
            workflow_id=frozen.workflow_id,
            decision_id=uuid4(),
            actor="a",
            reason="b",
        )
        change = PlanChange(workflow_cap_usd=Decimal(1), month_cap_usd=Decimal(50), price_usd_per_month=Decimal(9))
        await plans.set_plan(connection, PLAN, change, decision_id=uuid4(), actor="a")
        for plan_key in (PLAN, "default"):
            await plans.assign_plan(connection, names.organization_id, plan_key, decision_id=uuid4(), actor="a")
    return names


def this_month() -> date:
    return datetime.now(UTC).date().replace(day=1)


@dataclass(frozen=True)
class Two:
    mine: Names
    theirs: Names


@pytest.fixture
async def two(database: TenantDatabase, make_workflow: MakeWorkflow) -> Two:
    return Two(
        await furnish(database, make_workflow, "harborline.example"),
        await furnish(database, make_workflow, "ledgerpilot.example"),
    )


async def tables_with_a_tenant(database: TenantDatabase) -> list[str]:
    rows = await database.admin.fetch(
        """
        SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'organization_id'
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname
        """
    )
    return [row["relname"] for row in rows]


async def rows_of(database: TenantDatabase, connection: Connection, organization_id: UUID) -> str:
    """All that an organization has, as one text; times of writing apart."""
    texts = []
    for table in await tables_with_a_tenant(database):
        rows = await connection.fetch(
            f"SELECT (to_jsonb(t) - 'updated_at')::text FROM {table} AS t WHERE organization_id = $1 ORDER BY 1",
            organization_id,
        )
        texts += [f"{table} {row[0]}" for row in rows]
    return "\n".join(texts)


# Probes -------------------------------------------------------------------------------------------------------


async def test_L20_every_call_that_speaks_of_their_rows_speaks_of_none(database: TenantDatabase, two: Two) -> None:
    """Under our own name and under theirs the answer is that for rows that do not exist; nothing of theirs moves."""
    async with database.admin.connection() as connection:
        before = await rows_of(database, connection, two.theirs.organization_id)
    found, committed = [], []
    for name, (role, probe) in (await probes_of(database)).items():
        none = nobody()
        for claims_to_be in (two.mine.organization_id, two.theirs.organization_id):
            theirs = _with(two.theirs, claims_to_be)
            mine_or_none = claims_to_be if claims_to_be == two.mine.organization_id else none.organization_id
            wanted = await answer_of(role, two.mine.organization_id, _with(none, mine_or_none), probe, commits=False)
            answer = await answer_of(role, two.mine.organization_id, theirs, probe, commits=False)
            if answer != wanted:
                found.append(f"{name}: of theirs {answer!r}, of nobody's {wanted!r}")
            committed.append(answer_of(role, two.mine.organization_id, theirs, probe, commits=True))
    for call in committed:
        await call
    async with database.admin.connection() as connection:
        assert await rows_of(database, connection, two.theirs.organization_id) == before
    assert not found, "\n".join(found)


def _with(names: Names, organization_id: UUID) -> Names:
    return Names(organization_id, names.workflow_id, names.article_id, names.ids, names.domain, names.name)


async def test_L20_what_they_do_changes_no_answer_of_ours(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    """No sum, count or list of ours differs by what another organization has."""
    mine = await furnish(database, make_workflow, "harborline.example")
    probes = await probes_of(database)

    async def answers() -> dict[str, str]:
        return {
            name: await answer_of(database.app, mine.organization_id, mine, probe, commits=False)
            for name, (role, probe) in probes.items()
            if role is database.app
        }

    before = await answers()
    await furnish(database, make_workflow, "ledgerpilot.example")
    assert await answers() == before


async def test_L20_every_probe_would_notice(database: TenantDatabase, two: Two) -> None:
    """The same call tells its owner, or does to its rows, what it neither tells nor does where there are none."""
    blind = []
    for name, (role, probe) in (await probes_of(database)).items():
        own = await _told_and_done(database, role, two.theirs.organization_id, two.theirs, probe)
        of_nobodys = _with(nobody(), two.theirs.organization_id)
        none = await _told_and_done(database, role, two.theirs.organization_id, of_nobodys, probe)
        empty = nobody()
        nothing = await _told_and_done(database, role, empty.organization_id, empty, probe)
        if own == none == nothing and name not in BLIND_FOR_A_REASON:
            blind.append(f"{name}: {own}")
    assert not blind, "\n".join(blind) + "\ngive these arguments in BY_FUNCTION by which they do something"


async def _told_and_done(
    database: TenantDatabase, role: Database, organization_id: UUID, names: Names, probe: Probe
) -> tuple[str, bool]:
    changed = False

    async def told(connection: Connection, names: Names) -> Any:
        nonlocal changed
        before = await rows_of(database, connection, organization_id)
        answer = await probe(connection, names)
        changed = await rows_of(database, connection, organization_id) != before
        return answer

    return await answer_of(role, organization_id, names, told, commits=False), changed


async def test_L20_no_inner_function_can_be_run(database: TenantDatabase) -> None:
    """What is not probed above, no role that logs in may run."""
    rows = await database.admin.fetch(
        """
        SELECT proname, grantee FROM pg_proc, aclexplode(proacl)
        WHERE pronamespace = 'public'::regnamespace AND grantee::regrole::text NOT IN ('infin8_owner')
        """
    )
    probed = {one.name for one in await functions_of_the_database(database)}
    assert {row["proname"] for row in rows} == probed
    assert await database.admin.fetchval(
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proacl IS NULL"
    ) == 0  # fmt: skip


# Tables -------------------------------------------------------------------------------------------------------


async def test_L20_their_rows_are_invisible_in_every_table(database: TenantDatabase, two: Two) -> None:
    """Counted, aggregated, looked up by key or joined: whatever a statement of ours selects is ours."""
    for table in await tables_with_a_tenant(database):
        async with database.app.transaction(two.mine.organization_id) as connection:
            seen = await connection.fetch(f"SELECT DISTINCT organization_id FROM {table}")
            assert [row["organization_id"] for row in seen] == [two.mine.organization_id], table
            of_theirs = f"SELECT count(*) FROM {table} WHERE organization_id = $1"
            assert await connection.fetchval(of_theirs, two.theirs.organization_id) == 0, table


async def test_L20_every_key_of_a_tenants_table_holds_the_organization(database: TenantDatabase) -> None:
    """A key without it can be used by one organization only, and the other learns that by trying."""
    rows = await database.admin.fetch(
        """
        SELECT relname, indexrelid::regclass::text AS key,
            ARRAY(SELECT attname::text FROM unnest(indkey) AS number JOIN pg_attribute ON attnum = number
                  WHERE attrelid = indrelid) AS columns
        FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
        WHERE relnamespace = 'public'::regnamespace AND (indisunique OR indisexclusion)
        """
    )
    tenants = set(await tables_with_a_tenant(database))
    bare = {row["key"] for row in rows if row["relname"] in tenants and "organization_id" not in row["columns"]}
    assert bare - MADE_BY_THE_DATABASE == set()


async def test_L20_a_row_that_uses_their_ids_is_like_one_that_uses_nobodys(database: TenantDatabase, two: Two) -> None:
    """The same answer, error text included, whether the ids are another organization's or no one's."""
    found = []
    for table in ROWS:
        # All ids are theirs, or those that are the row's own while its workflow and article are ours.
        of_theirs = [_with(two.theirs, two.mine.organization_id), _mine_but_for_the_row(two)]
        of_nobodys = [_with(nobody(), two.mine.organization_id), _mine_but_for_the_row(Two(two.mine, nobody()))]
        for theirs, none in zip(of_theirs, of_nobodys, strict=True):
            answers = [await _inserted(database, table, names) for names in (theirs, none)]
            if answers[0] != answers[1]:
                found.append(f"{table}: with theirs {answers[0]!r}, with nobody's {answers[1]!r}")
    assert found == []


def _mine_but_for_the_row(two: Two) -> Names:
    ids = {**two.mine.ids, **{name: two.theirs.id(name) for name in IDS_IN_ROWS}}
    return Names(two.mine.organization_id, two.mine.workflow_id, two.mine.article_id, ids)


async def _inserted(database: TenantDatabase, table: str, names: Names) -> str:
    async def probe(connection: Connection, names: Names) -> None:
        for one in ("keywords", "web_pages", "site_reads", "step_outputs", "seed_candidates", "article_approvals"):
            if one == table:  # our own row of the same key stands in the way, and is not what this is about
                await connection.execute(f"UPDATE {one} SET organization_id = organization_id")
        await insert_row(connection, table, names)

    return await answer_of(database.app, names.organization_id, names, probe, commits=False)


async def test_L20_a_workflow_or_organization_of_their_name_is_like_any_other(
    database: TenantDatabase, two: Two
) -> None:
    none = nobody()
    new = """
        INSERT INTO intent_workflows (id, organization_id, name, brief, brief_hash, settings, started_by, cap_usd)
        VALUES ($1, $2, $3, '{}', 'a', '{}', 'a', 1)
    """
    fresh = uuid4()

    def workflow(of: Names) -> Probe:
        return lambda c, _: c.execute(new, of.workflow_id, two.mine.organization_id, of.name)

    def organization(of: Names) -> Probe:
        return lambda c, _: c.execute(
            "INSERT INTO organizations (organization_id, domain, name) VALUES ($1, $2, 'a')", fresh, of.domain
        )

    for make, as_organization in ((workflow, two.mine.organization_id), (organization, fresh)):
        answers = [
            await answer_of(database.app, as_organization, of, make(of), commits=False) for of in (two.theirs, none)
        ]
        assert answers[0] == answers[1]


async def test_L20_nothing_is_missing_here(database: TenantDatabase, two: Two) -> None:
    """A new table is furnished, one that the application writes is tried with foreign ids, a new module is probed."""
    filled = {
        table
        for table in await tables_with_a_tenant(database)
        if await database.admin.fetchval(
            f"SELECT count(*) FROM {table} WHERE organization_id = $1", two.theirs.organization_id
        )
    }
    assert filled == set(await tables_with_a_tenant(database)), "furnish() leaves a table empty"
    written = await database.admin.fetch(
        """
        SELECT relname FROM pg_class, aclexplode(relacl)
        WHERE relnamespace = 'public'::regnamespace AND privilege_type = 'INSERT' AND grantee = 'infin8_app'::regrole
        """
    )
    assert {row["relname"] for row in written} == set(ROWS)
    modules = {f"db.{one.name}" for one in pkgutil.iter_modules(db.__path__)}
    probed = {name.rpartition(".")[0] for name in functions_of_the_package()}
    assert modules == probed | set(NOT_FOR_TENANTS)
    known = {one.name for one in await functions_of_the_database(database)} | set(functions_of_the_package())
    assert {*WITHOUT_A_TENANT, *BY_FUNCTION} - known == set(), "named here and gone"
