"""What the money tables refuse, whoever writes, and what one organization can't learn of another's."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest

from db import prices, spend
from db.migrate import FOLDER
from db.pool import Connection
from domain.errors import BadInputError, ConfigurationError, PipelineError
from domain.spend import ATTEMPT_TRANSITIONS, OPEN_HOLD_STATES, AttemptState, DecisionKind
from domain.states import State
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase
from tests.integration.money_cases import (
    DROPPED,
    MINI,
    NOT_BILLED,
    SONAR,
    Till,
    an_answer,
    an_ask,
    assert_books_balance,
    chat,
)

EXECUTABLE_MONEY_FUNCTIONS = {
    "authorize_attempts", "dispatch_attempt", "expire_attempts", "record_generation_id", "store_answer",
    "store_not_billed", "store_unknown", "reject_answer", "record_usage_and_increment", "settle_attempts",
    "settle_answered", "check_workflow_cost_limit", "get_organization_monthly_ai_cost",
}  # fmt: skip
INTERNAL_MONEY_FUNCTIONS = {
    "decide_anew", "move_money", "release_hold", "book_attempt", "settle_attempt", "lock_attempts", "lock_attempt",
    "lock_current_month", "void_reserved_attempts", "earlier_decision", "refusal_of", "write_off_attempt",
}  # fmt: skip


@pytest.fixture
async def till(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING))


# The graph of an attempt -------------------------------------------------------------------------------------


async def force_state(connection: Connection, state: AttemptState) -> None:
    """With every trigger off: the tests below need rows in states that they did not walk to."""
    refusal = {"scope": "workflow"} if state is AttemptState.REFUSED else None
    await connection.execute("SET LOCAL session_replication_role = replica")
    await connection.execute("UPDATE spend_attempts SET state = $1, refusal = $2, usage = '{}'", state, refusal)
    await connection.execute("SET LOCAL session_replication_role = origin")


async def refused_by(connection: Connection, statement: str, *arguments: object) -> str | None:
    """Name of the rule that refuses a statement, None when it passes; undone in any case."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement, *arguments)
    except asyncpg.IntegrityConstraintViolationError as error:
        return error.constraint_name
    finally:
        await transaction.rollback()
    return None


async def test_L9_the_attempts_graph_in_the_database_is_the_one_in_code(database: TenantDatabase, till: Till) -> None:
    await till.authorize(an_ask(till.workflow))
    legal = set()
    async with database.admin.connection() as connection, connection.transaction():
        for origin in AttemptState:
            for target in AttemptState:
                if origin is target:
                    continue
                await force_state(connection, origin)
                rule = await refused_by(connection, "UPDATE spend_attempts SET state = $1", target)
                assert rule in (None, "attempt_follows_its_graph")
                if rule is None:
                    legal.add((origin, target))
    assert legal == ATTEMPT_TRANSITIONS


def test_L9_a_hold_resolves_once_by_the_graph_itself() -> None:
    """Nothing leads back into a state with an open hold, and every open hold has a way out."""
    for origin, target in ATTEMPT_TRANSITIONS:
        assert origin in OPEN_HOLD_STATES or target not in OPEN_HOLD_STATES
    for state in OPEN_HOLD_STATES:
        assert any(origin is state for origin, _ in ATTEMPT_TRANSITIONS)
    assert not any(origin in (AttemptState.REFUSED, AttemptState.SETTLED) for origin, _ in ATTEMPT_TRANSITIONS)


async def test_L9_an_attempt_begins_reserved_or_refused(database: TenantDatabase, till: Till) -> None:
    await till.authorize(an_ask(till.workflow))
    async with database.admin.connection() as connection, connection.transaction():
        for state in set(AttemptState) - {AttemptState.RESERVED, AttemptState.REFUSED}:
            copy = """
                INSERT INTO spend_attempts SELECT (jsonb_populate_record(attempt, jsonb_build_object(
                    'attempt_id', gen_random_uuid(), 'ask', 9, 'state', $1::text))).* FROM spend_attempts AS attempt
            """
            assert await refused_by(connection, copy, state) == "attempt_follows_its_graph"


async def test_L9_a_stored_answer_and_its_judgement_never_change(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.paid(an_ask(till.workflow))
    await till.reject(attempt_id)
    async with database.admin.connection() as connection, connection.transaction():
        for change in ("answer_body = '{}'", "usage = '{}'", "rejected_reason = NULL", "answer_body = NULL"):
            rule = await refused_by(connection, f"UPDATE spend_attempts SET {change}")
            assert rule == "attempt_answer_is_final"


async def test_L1_no_statement_at_all_can_put_a_scope_above_its_cap(database: TenantDatabase, till: Till) -> None:
    """Also not the superuser's, nor a defect in our own functions."""
    await till.authorize(an_ask(till.workflow))
    cases = {
        "UPDATE intent_workflows SET held_usd = 1.000000001": "workflow_within_cap",
        "UPDATE intent_workflows SET spent_usd = 1": "workflow_within_cap",
        "UPDATE intent_workflows SET held_usd = -0.000000001": "workflow_held_not_negative",
        "UPDATE organization_months SET spent_usd = 50.1": "month_within_cap",
        "UPDATE organization_months SET held_usd = held_usd - 1": "month_held_not_negative",
    }
    async with database.admin.connection() as connection, connection.transaction():
        for statement, rule in cases.items():
            assert await refused_by(connection, statement) == rule


# Rights ------------------------------------------------------------------------------------------------------


async def test_L19_the_application_writes_no_money_table_and_runs_no_inner_function(database: TenantDatabase) -> None:
    rows = await database.admin.fetch(
        """
        SELECT role, name, privilege
        FROM unnest(ARRAY['infin8_app', 'infin8_operator']) AS role,
            unnest(ARRAY['spend_attempts', 'spend_reuses', 'ai_usage_ledger', 'organization_months', 'model_prices',
                'model_aliases', 'plans']) AS name,
            unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
        WHERE has_table_privilege(role, name, privilege)
            OR privilege IN ('INSERT', 'UPDATE') AND has_any_column_privilege(role, name, privilege)
        """
    )
    assert rows == []
    columns = await database.admin.fetch(
        """
        SELECT name FROM unnest(ARRAY['spent_usd', 'held_usd', 'overrun_usd', 'frozen_reason', 'authorized_cap_usd'])
            AS name, unnest(ARRAY['INSERT', 'UPDATE']) AS privilege
        WHERE has_column_privilege('infin8_app', 'intent_workflows', name, privilege)
            OR has_column_privilege('infin8_app', 'intent_workflows', 'cap_usd', 'UPDATE')
        """
    )
    assert columns == []
    functions = await database.admin.fetch(
        """
        SELECT proname, has_function_privilege('infin8_app', oid, 'EXECUTE') AS may, prosecdef,
            pg_get_userbyid(proowner) AS owner, array_to_string(proconfig, ',') AS config
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        """
    )
    may = {row["proname"] for row in functions if row["may"]}
    assert may >= EXECUTABLE_MONEY_FUNCTIONS
    assert not may & INTERNAL_MONEY_FUNCTIONS
    for row in functions:
        assert row["owner"] == "infin8_owner"
        assert row["config"] == "search_path=public, pg_temp", row["proname"]


async def test_L19_corrections_are_rows_that_name_the_row_they_correct(database: TenantDatabase, till: Till) -> None:
    await till.paid(an_ask(till.workflow))
    async with database.admin.connection() as connection, connection.transaction():
        copy = """
            INSERT INTO ai_usage_ledger (idempotency_key, attempt_id, workflow_id, organization_id, month, entry,
                corrects, step, slot, model, prompt_tokens, completion_tokens, cost)
            SELECT CASE WHEN $3 THEN idempotency_key ELSE gen_random_uuid() END, attempt_id, workflow_id,
                organization_id, month, $1::text, $2::uuid, step, slot, model, 0, 0, $4::numeric
            FROM ai_usage_ledger
        """
        zero = Decimal(0)
        assert await refused_by(connection, copy, "correction", None, False, zero) == "ledger_correction_names_its_row"
        assert await refused_by(connection, copy, "correction", uuid4(), False, zero) == "ledger_corrects_a_row"
        assert await refused_by(connection, copy, "usage", None, True, zero) == "ledger_settles_once"
        assert await refused_by(connection, copy, "usage", None, False, Decimal(-1)) == "ledger_cost_not_negative"
        assert await refused_by(connection, "UPDATE ai_usage_ledger SET cost = 0") == "ledger_is_append_only"
        assert await refused_by(connection, "DELETE FROM ai_usage_ledger") == "ledger_is_append_only"
        assert await refused_by(connection, "TRUNCATE ai_usage_ledger") == "ledger_is_append_only"


async def test_every_function_body_is_sound(database: TenantDatabase) -> None:
    """The migration applies them without a look, because they name each other across files."""
    async with database.admin.connection() as connection:
        await connection.execute("SET search_path = public; SET check_function_bodies = on")
        for file in sorted((FOLDER / "functions").glob("*.sql")):
            await connection.execute(file.read_text(encoding="utf-8"))


# Tenants -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def stranger(database: TenantDatabase, make_workflow: MakeWorkflow) -> Till:
    return Till(database.app, await make_workflow(State.ICP_PROCESSING, domain="payloom.example"))


async def test_L20_no_function_does_anything_with_another_organizations_rows(
    database: TenantDatabase, till: Till, stranger: Till
) -> None:
    theirs = await stranger.sent(an_ask(stranger.workflow))
    before = await database.admin.fetch("SELECT * FROM spend_attempts")
    here = till.organization_id
    workflow_id = stranger.workflow.workflow_id
    usage = json.loads(an_answer().usage.model_dump_json())  # type: ignore[union-attr]
    calls: dict[str, Callable[[UUID, UUID, UUID], tuple[object, ...]]] = {
        "SELECT * FROM authorize_attempts($1, $2, '[]', 1, 1)": lambda org, wf, _: (wf, org),
        "SELECT dispatch_attempt($1, $2, $3)": lambda org, wf, attempt: (wf, org, attempt),
        "SELECT record_generation_id($1, $2, 'g')": lambda org, _, attempt: (attempt, org),
        "SELECT store_answer($1, $2, 200, '', '', NULL, NULL, $3)": lambda org, _, attempt: (attempt, org, usage),
        "SELECT store_not_billed($1, $2, '{}', 429)": lambda org, _, attempt: (attempt, org),
        "SELECT store_unknown($1, $2, '{}', 200, '')": lambda org, _, attempt: (attempt, org),
        "SELECT * FROM settle_attempts($1, $2)": lambda org, _, attempt: (org, [attempt]),
        "SELECT record_usage_and_increment($1, $2, 'm', 1, 1, 1)": lambda org, _, attempt: (attempt, org),
        "SELECT reject_answer($1, $2, 'no')": lambda org, _, attempt: (attempt, org),
    }
    for statement, arguments in calls.items():
        messages = set()
        for organization_id in (here, stranger.organization_id):  # as ourselves, and under their name
            for workflow, attempt in ((workflow_id, theirs), (uuid4(), uuid4())):  # theirs, and nobody's
                with pytest.raises(BadInputError) as caught:
                    async with database.app.transaction(here) as connection:
                        await connection.fetch(statement, *arguments(organization_id, workflow, attempt))
                messages.add(str(caught.value).replace(str(workflow), "W").replace(str(attempt), "A"))
        assert len(messages) == 1, "their row must look like nobody's"
    assert await database.admin.fetch("SELECT * FROM spend_attempts") == before
    await assert_books_balance(database.admin)


async def test_L20_reads_and_sweeps_stop_at_the_organization(
    database: TenantDatabase, till: Till, stranger: Till
) -> None:
    theirs = await stranger.paid(an_ask(stranger.workflow))
    reserved = an_ask(stranger.workflow, 2)
    await stranger.authorize(reserved, expires_after_seconds=0)
    answered = await stranger.sent(an_ask(stranger.workflow, 3))
    await stranger.store(answered, an_answer())
    async with database.app.transaction(till.organization_id) as connection:
        workflow_id = stranger.workflow.workflow_id
        assert await spend.load_attempt(connection, theirs) is None
        assert await spend.spend_of(connection, workflow_id) is None
        assert await spend.in_flight(connection, workflow_id) == []
        assert await spend.ledger_lines(connection) == []
        assert await spend.cost_sums(connection, []) == []
        assert await spend.decisions(connection, [theirs]) == {}
        for organization_id in (till.organization_id, stranger.organization_id):
            assert await spend.expire_attempts(connection, organization_id) == 0
            assert await spend.settle_answered(connection, workflow_id, organization_id) == []
        assert await connection.fetchval("SELECT check_workflow_cost_limit($1, 0)", workflow_id) is False
        their_cost = "SELECT get_organization_monthly_ai_cost($1)"
        assert await connection.fetchval(their_cost, stranger.organization_id) == 0
    async with database.operator.reading() as connection:
        assert await connection.fetchval(their_cost, stranger.organization_id) == Decimal("0.0001")
        assert len(await spend.ledger_lines(connection)) == 1


async def test_L20_their_uuid_used_by_us_tells_nothing_and_stands_in_nobodys_way(
    database: TenantDatabase, till: Till, stranger: Till
) -> None:
    theirs = an_ask(stranger.workflow)
    await stranger.authorize(theirs)
    forged = {**spend._ask_facts(an_ask(till.workflow)), "attempt_id": str(theirs.attempt_id)}
    async with database.app.transaction(till.organization_id) as connection:
        kind = await connection.fetchval(
            "SELECT kind FROM authorize_attempts($1, $2, $3, 60, 60)",
            till.workflow.workflow_id, till.organization_id, [forged],
        )  # fmt: skip
    assert kind == "AUTHORIZED"  # as a UUID that nobody uses
    for one in (till, stranger):
        assert (await one.dispatch(theirs.attempt_id))[0]
        await one.store(theirs.attempt_id, an_answer())
        await one.settle(theirs.attempt_id)
        assert (await one.counters()).spent_usd == Decimal("0.0001")
    await assert_books_balance(database.admin)


async def test_L20_without_an_organization_nothing_works(database: TenantDatabase, till: Till) -> None:
    connection = await asyncpg.connect(database.app_dsn)
    try:
        with pytest.raises(asyncpg.PostgresError, match="does not exist for this organization"):
            await connection.fetch(
                "SELECT * FROM authorize_attempts($1, $2, '[]', 1, 1)", till.workflow.workflow_id, till.organization_id
            )
        assert await connection.fetchval("SELECT count(*) FROM spend_attempts") == 0
    finally:
        await connection.close()


async def test_L19_only_the_operator_writes_off(database: TenantDatabase, till: Till) -> None:
    attempt_id = await till.sent(an_ask(till.workflow))
    await till.store(attempt_id, DROPPED)
    with pytest.raises(ConfigurationError, match="permission denied"):
        await till.write_off(attempt_id)
    await till.using(database.operator).write_off(attempt_id)


# Prices ------------------------------------------------------------------------------------------------------


async def add_price(database: TenantDatabase, model: str, since: str, until: str | None, input_usd: str = "1") -> UUID:
    price_id: UUID = await database.admin.fetchval(
        """
        INSERT INTO model_prices (price_id, model, input_usd_per_million, cached_input_usd_per_million,
            output_usd_per_million, effective_from, effective_until)
        VALUES (gen_random_uuid(), $1, $2, $2, $2, $3::text::timestamptz, $4::text::timestamptz) RETURNING price_id
        """,
        model, Decimal(input_usd), since, until,
    )  # fmt: skip
    return price_id


async def test_prices_are_found_by_exact_alias_and_date(database: TenantDatabase, till: Till) -> None:
    old = await add_price(database, "acme/one", "2020-01-01Z", "2021-01-01Z")
    new = await add_price(database, "acme/one", "2021-01-01Z", None, "2")
    async with database.app.transaction(till.organization_id) as connection:
        for name in ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini-2024-07-18", MINI):
            price = await prices.price_of(connection, name)
            assert price is not None
            assert (price.model, price.cached_input_usd_per_million) == (MINI, Decimal("0.075"))
            assert await prices.canonical_model(connection, name) == MINI
        sonar = await prices.price_of(connection, "sonar")
        assert sonar is not None
        assert (sonar.model, sonar.usd_per_request) == (SONAR, Decimal("0.005"))
        for unknown in ("GPT-4o-mini", "gpt-4o-mini ", "gpt-4o", ""):
            assert await prices.price_of(connection, unknown) is None
        for at, expected in (
            (datetime(2020, 12, 31, 23, 59, 59, tzinfo=UTC), old),
            (datetime(2021, 1, 1, tzinfo=UTC), new),
            (None, new),
        ):
            price = await prices.price_of(connection, "acme/one", at)
            assert price is not None
            assert price.price_id == expected
        assert await prices.price_of(connection, "acme/one", datetime(2019, 1, 1, tzinfo=UTC)) is None


async def test_prices_of_a_model_never_overlap(database: TenantDatabase) -> None:
    await add_price(database, "acme/one", "2020-01-01Z", "2021-01-01Z")
    await add_price(database, "acme/two", "2020-01-01Z", None)
    for since, until in (("2020-06-01Z", None), ("2019-01-01Z", "2020-01-02Z"), ("2019-01-01Z", None)):
        with pytest.raises(asyncpg.ExclusionViolationError):
            await add_price(database, "acme/one", since, until)
    await add_price(database, "acme/one", "2021-01-01Z", None)


async def test_L19_a_price_never_changes_and_a_used_one_never_goes(database: TenantDatabase, till: Till) -> None:
    unused = await add_price(database, "acme/one", "2020-01-01Z", None)
    await till.authorize(an_ask(till.workflow))
    async with database.admin.connection() as connection, connection.transaction():
        for change in (
            "input_usd_per_million = 9",
            "usd_per_request = 0",
            "effective_from = '2019-01-01'",
            "model = 'x'",
        ):
            rule = await refused_by(connection, f"UPDATE model_prices SET {change}")
            assert rule == "price_is_immutable"
        past = "UPDATE model_prices SET effective_until = now() - interval '1 hour'"
        assert await refused_by(connection, past) == "price_is_immutable"
        assert await refused_by(connection, f"DELETE FROM model_prices WHERE model = '{MINI}'") is not None
        assert await refused_by(connection, "DELETE FROM model_prices WHERE price_id = $1", unused) is None


async def test_a_new_price_begins_where_the_old_one_ends_and_binds_new_calls_only(
    database: TenantDatabase, till: Till
) -> None:
    first = await till.sent(an_ask(till.workflow, 1))
    await database.admin.execute(
        f"UPDATE model_prices SET effective_until = now() + interval '100 milliseconds' WHERE model = '{MINI}'"
    )
    until = await database.admin.fetchval(f"SELECT effective_until::text FROM model_prices WHERE model = '{MINI}'")
    newer = await add_price(database, MINI, until, None, "10")
    await database.admin.execute("SELECT pg_sleep(0.12)")
    [second] = await till.authorize(an_ask(till.workflow, 2))
    assert (await till.load(second.attempt_id)).price_id == newer
    assert second.hold_usd > (await till.load(first)).hold_usd
    await till.store(first, an_answer(None, prompt_tokens=20, completion_tokens=30))
    await till.settle(first)
    assert (await till.counters()).spent_usd == Decimal("0.000021")  # at the price of its authorization
    await assert_books_balance(database.admin)


async def test_between_two_prices_nothing_is_authorized(database: TenantDatabase, till: Till) -> None:
    await database.admin.execute(f"UPDATE model_prices SET effective_until = now() WHERE model = '{MINI}'")
    [decision] = await till.authorize(an_ask(till.workflow))
    assert decision.kind is DecisionKind.REFUSED
    assert decision.refusal is not None
    assert f"no price is known for the model {MINI}" in decision.refusal.message
    assert (await till.load(decision.attempt_id)).price_id is None


# Errors ------------------------------------------------------------------------------------------------------


async def test_every_refusal_is_one_line_of_our_own_errors(till: Till) -> None:
    unknown = uuid4()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: till.dispatch(unknown),
        lambda: till.store(unknown, an_answer()),
        lambda: till.store(unknown, NOT_BILLED),
        lambda: till.store(unknown, DROPPED),
        lambda: till.settle(unknown),
        lambda: till.reject(unknown),
    ]
    for call in calls:
        with pytest.raises(PipelineError) as caught:
            await call()
        assert str(caught.value) == f"attempt {unknown} does not exist for this organization"
        assert "\n" not in str(caught.value)


async def test_dispatch_under_another_workflow_of_the_same_organization_is_refused(
    database: TenantDatabase, till: Till, make_workflow: MakeWorkflow
) -> None:
    other: MadeWorkflow = await make_workflow(State.ICP_PROCESSING)
    attempt = an_ask(till.workflow, request=chat())
    await till.authorize(attempt)
    with pytest.raises(BadInputError, match="does not exist for workflow"):
        await till.at(other).dispatch(attempt.attempt_id)
    assert (await till.load(attempt.attempt_id)).state is AttemptState.RESERVED
