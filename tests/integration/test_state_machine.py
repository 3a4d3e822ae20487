"""S1 to S6 of the state machine on a real Postgres."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from db.migrate import check_parity
from db.pool import Connection, Database
from db.transitions import (
    Advance,
    Advanced,
    advance,
    begin_step,
    check_claim,
    list_transitions,
    lock_workflow,
)
from db.workflows import load_workflow, set_failure
from domain.errors import (
    BadInputError,
    ClaimLostError,
    ConfigurationError,
    DatabaseUnavailableError,
    IdempotencyConflictError,
    WorkflowTransitionError,
)
from domain.identifiers import decision_transition_id, run_transition_id
from domain.states import LEGAL_TRANSITIONS, STEPS, WORKING_STEPS, State, Step, failed_state, processing_state
from sandbox.postgres import PORT, RunningPostgres
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase, legal_path, walk


def transition_of(workflow: MadeWorkflow, following: State, transition_id: UUID | None = None) -> Advance:
    return Advance(
        workflow_id=workflow.workflow_id,
        organization_id=workflow.organization_id,
        expected_state=workflow.state,
        expected_version=workflow.version,
        next_state=following,
        transition_id=transition_id or uuid4(),
        actor="tests",
    )


async def advanced(database: Database, transition: Advance) -> Advanced:
    async with database.transaction(transition.organization_id) as connection:
        return await advance(connection, transition)


async def walked(database: TenantDatabase, workflow: MadeWorkflow, *states: State) -> MadeWorkflow:
    async with database.app.transaction(workflow.organization_id) as connection:
        return await walk(connection, workflow, list(states))


async def where_it_stands(database: TenantDatabase, workflow: MadeWorkflow) -> tuple[State, int]:
    async with database.app.transaction(workflow.organization_id) as connection:
        record = await load_workflow(connection, workflow.workflow_id)
    assert record is not None
    return record.state, record.version


async def audit_is_whole(database: TenantDatabase, workflow: MadeWorkflow) -> None:
    """S3: gapless from 1, chained from CREATED, as many rows as the version says, and its fold is the state."""
    state, version = await where_it_stands(database, workflow)
    async with database.app.transaction(workflow.organization_id) as connection:
        audit = await list_transitions(connection, workflow.workflow_id)
    folded = State.CREATED
    for seq, record in enumerate(audit, start=1):
        assert (record.seq, record.expected_version, record.from_state) == (seq, seq - 1, folded)
        assert (record.from_state, record.to_state) in LEGAL_TRANSITIONS
        folded = record.to_state
    assert (folded, len(audit)) == (state, version)


# S1 -----------------------------------------------------------------------------------------------------------


async def test_the_graph_in_the_database_is_the_one_in_the_code(database: TenantDatabase) -> None:
    await check_parity(database.app)
    await check_parity(database.operator)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "DELETE FROM legal_transitions WHERE (from_state, to_state) = ('ICP_PENDING', 'ICP_PROCESSING')",
            "ICP_PENDING → ICP_PROCESSING is not in the database",
        ),
        ("INSERT INTO legal_transitions VALUES ('COMPLETED', 'CREATED')", "COMPLETED → CREATED is not in the code"),
    ],
)
async def test_a_worker_refuses_another_graph(database: TenantDatabase, statement: str, named: str) -> None:
    await database.admin.execute(statement)
    with pytest.raises(ConfigurationError, match=named):
        await check_parity(database.app)


async def test_every_legal_edge_and_no_other_can_be_taken(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    for state in State:
        workflow = await make_workflow(state)
        for following in State:
            if (state, following) not in LEGAL_TRANSITIONS:
                with pytest.raises(WorkflowTransitionError) as refused:
                    await advanced(database.app, transition_of(workflow, following))
                assert refused.value.reason == ("terminal" if state in legal_ends() else "illegal")
        for following in sorted(target for origin, target in LEGAL_TRANSITIONS if origin is state):
            async with undone(database, workflow) as connection:
                result = await advance(connection, transition_of(workflow, following))
                assert result == Advanced(
                    version=workflow.version + 1,
                    replayed=False,
                    current_state=following,
                    current_version=workflow.version + 1,
                )
        assert await where_it_stands(database, workflow) == (state, workflow.version)


def legal_ends() -> set[State]:
    return {State.COMPLETED, State.CANCELLED}


class UndoError(Exception):
    pass


@asynccontextmanager
async def undone(database: TenantDatabase, workflow: MadeWorkflow) -> AsyncIterator[Connection]:
    try:
        async with database.app.transaction(workflow.organization_id) as connection:
            yield connection
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            raise UndoError
    except UndoError:
        return


# S2 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("racers", [3, 20, 200, 1000])
async def test_of_many_concurrent_transitions_one_wins(
    database: TenantDatabase, make_workflow: MakeWorkflow, racers: int
) -> None:
    workflow = await make_workflow(State.ICP_PROCESSING)
    targets = [State.ICP_COMPLETED, State.ICP_FAILED]
    pool = await Database.connect(
        database.app_dsn, size_min=0, size_max=40, statement_timeout_seconds=60, acquire_timeout_seconds=100
    )
    attempts = [advanced(pool, transition_of(workflow, targets[number % 2])) for number in range(racers)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    await pool.close()
    winners = [result for result in results if isinstance(result, Advanced)]
    losers = [result for result in results if isinstance(result, WorkflowTransitionError)]
    assert (len(winners), len(losers)) == (1, racers - 1)
    assert not winners[0].replayed
    for loser in losers:
        assert (loser.reason, loser.http_status) == ("conflict", 409)
        assert (loser.current_state, loser.current_version) == (winners[0].current_state, workflow.version + 1)
        assert loser.expected_state is State.ICP_PROCESSING
        assert loser.attempted_state in targets
    await audit_is_whole(database, workflow)


async def test_of_two_reviewers_one_wins_and_the_other_is_told(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow(State.SEED_REVIEW_PENDING)
    approve = transition_of(workflow, State.SEED_REVIEW_COMPLETED, decision_transition_id(workflow.workflow_id, "anna"))
    reject = transition_of(workflow, State.COMPETITOR_PENDING, decision_transition_id(workflow.workflow_id, "ben"))
    results = await asyncio.gather(
        advanced(database.app, approve), advanced(database.app, reject), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Advanced", "WorkflowTransitionError"]


async def test_transitions_and_their_outputs_do_not_deadlock(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    """Rows that refer to the workflow lock its key; whoever wrote one must still be able to lock the row."""
    workflow = await make_workflow(State.COMPETITOR_PROCESSING)
    both_wrote = asyncio.Barrier(2)

    async def store_then_check(site: str) -> None:
        async with database.app.transaction(workflow.organization_id) as connection:
            await connection.execute(
                "INSERT INTO site_reads (workflow_id, organization_id, site, claim, pages_read)"
                " VALUES ($1, $2, $3, $4, 1)",
                workflow.workflow_id,
                workflow.organization_id,
                site,
                workflow.version,
            )
            await both_wrote.wait()
            await check_claim(
                connection, workflow.workflow_id, workflow.organization_id, Step.COMPETITOR, workflow.version
            )

    await asyncio.gather(store_then_check("ledgerpilot.example"), store_then_check("payloom.example"))


# S3 -----------------------------------------------------------------------------------------------------------


async def test_random_walks_leave_a_whole_audit(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    dice = random.Random(20_26)
    for _ in range(12):
        workflow = await make_workflow()
        for _ in range(dice.randrange(1, 25)):
            ways = sorted(target for origin, target in LEGAL_TRANSITIONS if origin is workflow.state)
            if not ways:
                break
            workflow = await walked(
                database, workflow, dice.choice([way for way in ways if way != "CANCELLED"] or ways)
            )
        assert await where_it_stands(database, workflow) == (workflow.state, workflow.version)
        await audit_is_whole(database, workflow)


async def test_without_the_audit_row_the_state_stays(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    await database.admin.execute(
        "ALTER TABLE workflow_transitions ADD CONSTRAINT broken CHECK (to_state <> 'ICP_PROCESSING') NOT VALID"
    )
    with pytest.raises(BadInputError, match="broken"):
        await advanced(database.app, transition_of(workflow, State.ICP_PROCESSING))
    assert await where_it_stands(database, workflow) == (State.ICP_PENDING, 1)
    await audit_is_whole(database, workflow)


async def test_an_audit_row_that_is_swallowed_fails_the_commit(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    await database.admin.execute("CREATE RULE swallow AS ON INSERT TO workflow_transitions DO INSTEAD NOTHING")
    with pytest.raises(BadInputError, match="workflow_transition_is_audited"):
        await advanced(database.app, transition_of(workflow, State.ICP_PROCESSING))
    assert await where_it_stands(database, workflow) == (State.ICP_PENDING, 1)


async def test_an_output_that_fails_takes_the_transition_with_it(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow(State.ICP_PROCESSING)

    async def complete_without_sources() -> None:
        async with database.app.transaction(workflow.organization_id) as connection:
            await advance(connection, transition_of(workflow, State.ICP_COMPLETED))
            await connection.execute(
                """
                INSERT INTO keywords (keyword_id, workflow_id, organization_id, position, text, score, intent, sources)
                VALUES ($1, $2, $3, 1, 'invoice', 0.5, 'commercial', '[]')
                """,
                uuid4(),
                workflow.workflow_id,
                workflow.organization_id,
            )

    with pytest.raises(BadInputError, match="keyword_has_a_source"):
        await complete_without_sources()
    assert await where_it_stands(database, workflow) == (State.ICP_PROCESSING, 2)


# S4 -----------------------------------------------------------------------------------------------------------

FORBIDDEN_TO_THE_APPLICATION = [
    "UPDATE intent_workflows SET state = 'COMPLETED'",
    "UPDATE intent_workflows SET state = 'ICP_PROCESSING', version = version + 1",
    "UPDATE intent_workflows SET version = 7",
    "UPDATE intent_workflows SET spent_usd = 0",
    "UPDATE intent_workflows SET held_usd = 0",
    "UPDATE intent_workflows SET cap_usd = 1000",
    "UPDATE intent_workflows SET frozen_reason = NULL",
    "UPDATE intent_workflows SET organization_id = gen_random_uuid()",
    "UPDATE intent_workflows SET brief = '{}'",
    "DELETE FROM intent_workflows",
    "TRUNCATE intent_workflows CASCADE",
    "INSERT INTO intent_workflows (id, organization_id, name, brief, brief_hash, settings, started_by, cap_usd, state)"
    " SELECT gen_random_uuid(), organization_id, 'x', '{}', 'x', '{}', 'x', 1, 'COMPLETED' FROM organizations",
    "INSERT INTO organizations (organization_id, domain, name, plan_key)"
    " SELECT organization_id, 'x', 'x', 'default' FROM organizations",
    "UPDATE organizations SET plan_key = 'default'",
    "INSERT INTO workflow_transitions SELECT * FROM workflow_transitions",
    "UPDATE workflow_transitions SET actor = 'somebody else'",
    "DELETE FROM workflow_transitions",
    "TRUNCATE workflow_transitions",
    "INSERT INTO ai_usage_ledger DEFAULT VALUES",
    "UPDATE ai_usage_ledger SET cost = 0",
    "DELETE FROM ai_usage_ledger",
    "TRUNCATE ai_usage_ledger",
    "INSERT INTO legal_transitions VALUES ('COMPLETED', 'CREATED')",
    "DELETE FROM legal_transitions",
    "UPDATE spend_attempts SET state = 'VOIDED'",
    "INSERT INTO spend_attempts SELECT * FROM spend_attempts",
    "UPDATE organization_months SET cap_usd = 1000",
    "UPDATE plans SET month_cap_usd = 1000",
    "UPDATE model_prices SET output_usd_per_million = 0",
    "UPDATE model_aliases SET model = 'free'",
    "INSERT INTO cap_changes SELECT * FROM cap_changes",
    "UPDATE schema_migrations SET checksum = ''",
    "SELECT void_reserved_attempts(gen_random_uuid(), gen_random_uuid(), 1)",
    "SELECT protect_tenant_table('plans')",
    "ALTER TABLE intent_workflows DISABLE TRIGGER ALL",
    "ALTER TABLE intent_workflows NO FORCE ROW LEVEL SECURITY",
    "DROP TABLE workflow_transitions",
    "CREATE TABLE mine ()",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SET ROLE infin8_owner",
    "SET session_replication_role = replica",
]


@pytest.mark.parametrize("role", ["app", "operator"])
async def test_no_role_that_logs_in_may_write_what_functions_write(
    database: TenantDatabase, make_workflow: MakeWorkflow, role: str
) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    answers = {}
    for statement in FORBIDDEN_TO_THE_APPLICATION:
        try:
            async with getattr(database, role).transaction(workflow.organization_id) as connection:
                answers[statement] = await connection.execute(statement)
        except ConfigurationError as refused:
            answers[statement] = str(refused)
    assert not [(statement, answer) for statement, answer in answers.items() if "(42501)" not in answer]
    assert await where_it_stands(database, workflow) == (State.ICP_PENDING, 1)


REFUSED_TO_THE_OWNER = [
    ("UPDATE intent_workflows SET state = 'COMPLETED', version = version + 1", "workflow_transition_is_legal"),
    ("UPDATE intent_workflows SET state = 'NONSENSE', version = version + 1", "workflow_transition_is_legal"),
    ("UPDATE intent_workflows SET state = 'ICP_PROCESSING'", "workflow_version_counts_transitions"),
    ("UPDATE intent_workflows SET version = version + 1", "workflow_version_counts_transitions"),
    ("UPDATE intent_workflows SET version = 0", "workflow_version_counts_transitions"),
    (
        "UPDATE intent_workflows SET state = 'ICP_PROCESSING', version = version + 1; SET CONSTRAINTS ALL IMMEDIATE",
        "workflow_transition_is_audited",
    ),
    ("UPDATE intent_workflows SET name = 'another'", "workflow_identity_is_final"),
    ("DELETE FROM intent_workflows", "workflows_stay"),
    ("TRUNCATE intent_workflows CASCADE", "workflows_stay"),
    ("UPDATE workflow_transitions SET actor = 'x'", "transitions_are_append_only"),
    ("DELETE FROM workflow_transitions", "transitions_are_append_only"),
    ("TRUNCATE workflow_transitions", "transitions_are_append_only"),
    ("UPDATE ai_usage_ledger SET cost = 0", "ledger_is_append_only"),
    ("DELETE FROM ai_usage_ledger", "ledger_is_append_only"),
    ("TRUNCATE ai_usage_ledger", "ledger_is_append_only"),
    ("DELETE FROM cap_changes", "cap_changes_are_append_only"),
    (
        "INSERT INTO workflow_transitions SELECT gen_random_uuid(), workflow_id, organization_id, 2, 'ICP_PENDING',"
        " 'ICP_PROCESSING', 1, 'x' FROM workflow_transitions",
        "transition_happened",
    ),
    (
        "INSERT INTO intent_workflows (id, organization_id, name, brief, brief_hash, settings, started_by, cap_usd,"
        " state) SELECT gen_random_uuid(), organization_id, 'x', '{}', 'x', '{}', 'x', 1, 'ICP_COMPLETED'"
        " FROM organizations",
        "workflow_begins_created",
    ),
    (
        "INSERT INTO intent_workflows (id, organization_id, name, brief, brief_hash, settings, started_by, cap_usd,"
        " spent_usd) SELECT gen_random_uuid(), organization_id, 'x', '{}', 'x', '{}', 'x', 1, 0.5 FROM organizations",
        "workflow_begins_created",
    ),
]


async def test_the_rules_bind_the_owner_too(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    broken = {}
    for statement, _rule in REFUSED_TO_THE_OWNER:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            await as_owner(database, workflow, statement)
        broken[statement] = refused.value.constraint_name
    assert broken == dict(REFUSED_TO_THE_OWNER)
    await audit_is_whole(database, workflow)


async def as_owner(database: TenantDatabase, workflow: MadeWorkflow, statement: str) -> None:
    async with database.admin.connection() as connection, connection.transaction():
        await connection.execute("SET LOCAL ROLE infin8_owner")
        await connection.execute("SELECT set_config('app.organization_id', $1, true)", str(workflow.organization_id))
        await connection.execute(statement)


@pytest.mark.parametrize("end", [State.COMPLETED, State.CANCELLED])
async def test_a_terminal_row_is_final_but_for_settling(
    database: TenantDatabase, make_workflow: MakeWorkflow, end: State
) -> None:
    workflow = await make_workflow(end)
    for change in (
        "state = 'ICP_PENDING', version = version + 1",
        "cap_usd = 5",
        "settings = '{}'",
        "version = version + 1",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            await as_owner(database, workflow, f"UPDATE intent_workflows SET {change}")
        assert refused.value.constraint_name == "workflow_terminal_is_final"
    await as_owner(database, workflow, "UPDATE intent_workflows SET spent_usd = 0.1, held_usd = 0.2, overrun_usd = 0.3")
    for following in State:
        with pytest.raises(WorkflowTransitionError) as lost:
            await advanced(database.app, transition_of(workflow, following))
        assert (lost.value.reason, lost.value.current_state) == ("terminal", end)
    assert await where_it_stands(database, workflow) == (end, workflow.version)


# S5 -----------------------------------------------------------------------------------------------------------


async def test_the_same_transition_again_gives_the_first_result(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    transition = transition_of(workflow, State.ICP_PROCESSING)
    first = await advanced(database.app, transition)
    other_words = transition.model_copy(update={"actor": "another", "reason": "again", "run_id": "run 2"})
    again = await advanced(database.app, other_words)
    assert (first.version, first.replayed) == (2, False)
    assert again == Advanced(version=2, replayed=True, current_state=State.ICP_PROCESSING, current_version=2)
    moved = await walked(
        database,
        MadeWorkflow(workflow.workflow_id, workflow.organization_id, State.ICP_PROCESSING, 2),
        State.ICP_FAILED,
    )
    late = await advanced(database.app, transition)
    assert late == Advanced(version=2, replayed=True, current_state=State.ICP_FAILED, current_version=moved.version)
    await audit_is_whole(database, workflow)


async def test_a_replay_succeeds_on_a_terminal_row(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    transition = transition_of(workflow, State.CANCELLED)
    await advanced(database.app, transition)
    assert (await advanced(database.app, transition)).replayed


@pytest.mark.parametrize(
    "change",
    [
        {"next_state": State.CANCELLED},
        {"expected_state": State.CREATED},
        {"expected_version": 0},
    ],
)
async def test_the_same_id_for_another_transition_is_a_conflict(
    database: TenantDatabase, make_workflow: MakeWorkflow, change: dict[str, object]
) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    transition = transition_of(workflow, State.ICP_PROCESSING)
    await advanced(database.app, transition)
    with pytest.raises(IdempotencyConflictError, match=str(transition.transition_id)):
        await advanced(database.app, transition.model_copy(update=change))
    other = await make_workflow(State.ICP_PENDING)
    with pytest.raises(IdempotencyConflictError):
        await advanced(database.app, transition_of(other, State.ICP_PROCESSING, transition.transition_id))
    assert await where_it_stands(database, other) == (State.ICP_PENDING, 1)


@pytest.mark.parametrize("first_commits", [True, False])
async def test_two_tries_that_overlap(
    database: TenantDatabase, make_workflow: MakeWorkflow, first_commits: bool
) -> None:
    """The second waits for the first and then repeats its answer, or does the work that the first did not."""
    workflow = await make_workflow(State.ICP_PENDING)
    transition = transition_of(workflow, State.ICP_PROCESSING)
    async with database.admin.connection() as watcher:
        try:
            async with database.app.transaction(workflow.organization_id) as connection:
                await advance(connection, transition)
                second = asyncio.create_task(advanced(database.app, transition))
                await until_one_waits_for_a_lock(watcher)
                if not first_commits:
                    raise UndoError
        except UndoError:
            pass
    result = await second
    assert (result.version, result.replayed) == (2, first_commits)
    await audit_is_whole(database, workflow)


async def until_one_waits_for_a_lock(watcher: Connection) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while await watcher.fetchval(waiting) == 0:  # noqa: ASYNC110 - the event happens in Postgres
        await asyncio.sleep(0.01)


async def test_twenty_tries_at_once_make_one_transition(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    transition = transition_of(workflow, State.ICP_PROCESSING)
    results = await asyncio.gather(*(advanced(database.app, transition) for _ in range(20)))
    assert {result.version for result in results} == {2}
    assert sorted(result.replayed for result in results) == [False] + [True] * 19
    await audit_is_whole(database, workflow)


@asynccontextmanager
async def commit_reply_cutter(server_socket: Path) -> AsyncIterator[str]:
    """A socket in front of Postgres that hands a COMMIT over and then cuts the line before the reply.

    Yields the folder to connect to.
    """

    cut = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(server_socket)
        mute = asyncio.Event()
        back = asyncio.create_task(hand_back(answers, writer, mute))
        while not mute.is_set() and (data := await reader.read(65536)):
            if b"COMMIT" in data:
                mute.set()
            questions.write(data)
        if not mute.is_set():
            questions.write_eof()
        await back
        for stream in (writer, questions):
            stream.close()
            await stream.wait_closed()
        cut.set()

    async def hand_back(answers: asyncio.StreamReader, writer: asyncio.StreamWriter, mute: asyncio.Event) -> None:
        while (data := await answers.read(65536)) and not mute.is_set():
            writer.write(data)

    with tempfile.TemporaryDirectory(prefix="cut-") as folder:
        server = await asyncio.start_unix_server(relay, Path(folder) / server_socket.name)
        async with server:
            yield folder
            await cut.wait()


async def test_a_lost_reply_to_commit_is_made_good_by_calling_again(
    database: TenantDatabase, make_workflow: MakeWorkflow, postgres: RunningPostgres
) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    transition = transition_of(workflow, State.ICP_PROCESSING)
    socket = postgres.socket_dir / f".s.PGSQL.{PORT}"
    async with commit_reply_cutter(socket) as folder:
        dsn = database.app_dsn.partition("?")[0] + f"?host={folder}&port={socket.suffix[1:]}"
        behind = await Database.connect(dsn, size_min=0, size_max=1)
        with pytest.raises(DatabaseUnavailableError):
            await advanced(behind, transition)
        await behind.close()
    assert await where_it_stands(database, workflow) == (State.ICP_PROCESSING, 2)
    again = await advanced(database.app, transition)
    assert (again.version, again.replayed) == (2, True)
    await audit_is_whole(database, workflow)


async def test_a_backend_killed_before_commit_leaves_nothing(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    transition = transition_of(workflow, State.ICP_PROCESSING)

    async def advance_and_be_killed() -> None:
        async with database.app.transaction(workflow.organization_id) as connection:
            await advance(connection, transition)
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await database.admin.execute("SELECT pg_terminate_backend($1)", pid)

    with pytest.raises(DatabaseUnavailableError):
        await advance_and_be_killed()
    assert await where_it_stands(database, workflow) == (State.ICP_PENDING, 1)
    assert not (await advanced(database.app, transition)).replayed


# S6 -----------------------------------------------------------------------------------------------------------


async def checked(database: TenantDatabase, workflow: MadeWorkflow, step: Step, claim: int) -> None:
    async with database.app.transaction(workflow.organization_id) as connection:
        await check_claim(connection, workflow.workflow_id, workflow.organization_id, step, claim)


async def test_a_lost_claim_stays_lost_when_the_state_is_entered_again(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow(State.ICP_PROCESSING)
    await checked(database, workflow, Step.ICP, 2)
    failed = await walked(database, workflow, State.ICP_FAILED)
    with pytest.raises(ClaimLostError, match="ICP_FAILED at version 3"):
        await checked(database, workflow, Step.ICP, 2)
    again = await walked(database, failed, State.ICP_PROCESSING)
    await checked(database, again, Step.ICP, 4)
    with pytest.raises(ClaimLostError, match="ICP_PROCESSING at version 4"):
        await checked(database, workflow, Step.ICP, 2)
    with pytest.raises(WorkflowTransitionError) as zombie:
        await advanced(database.app, transition_of(workflow, State.ICP_COMPLETED))
    assert (zombie.value.reason, zombie.value.current_version) == ("conflict", 4)


async def test_a_claim_holds_for_its_step_only(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    workflow = await make_workflow(State.ICP_PROCESSING)
    with pytest.raises(ClaimLostError):
        await checked(database, workflow, Step.COMPETITOR, 2)
    stranger = MadeWorkflow(uuid4(), workflow.organization_id)
    with pytest.raises(ClaimLostError, match="does not exist"):
        await checked(database, stranger, Step.ICP, 2)


async def test_a_claim_that_was_checked_can_not_be_lost_before_commit(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow(State.ICP_PROCESSING)
    transaction = database.app.transaction(workflow.organization_id)
    async with database.admin.connection() as watcher, transaction as connection:
        await check_claim(connection, workflow.workflow_id, workflow.organization_id, Step.ICP, 2)
        cancelling = asyncio.create_task(advanced(database.app, transition_of(workflow, State.CANCELLED)))
        await until_one_waits_for_a_lock(watcher)
        assert not cancelling.done()
    assert (await cancelling).current_state is State.CANCELLED


async def test_whoever_leaves_processing_ends_the_claims_reservations(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    """The money's part is replaced by one that notes its calls: for which transitions, and for which claim."""
    await database.admin.execute(
        """
        CREATE TABLE calls (workflow_id uuid, organization_id uuid, claim bigint);
        GRANT INSERT ON calls TO infin8_owner;
        CREATE OR REPLACE FUNCTION void_reserved_attempts(p_workflow_id uuid, p_organization_id uuid, p_claim bigint)
        RETURNS integer LANGUAGE sql SET search_path = public, pg_temp
        AS 'INSERT INTO calls VALUES (p_workflow_id, p_organization_id, p_claim); SELECT 1'
        """
    )
    expected = set()
    for origin, target in sorted(LEGAL_TRANSITIONS):
        workflow = await make_workflow(origin)
        await database.admin.execute("DELETE FROM calls WHERE workflow_id = $1", workflow.workflow_id)
        await walked(database, workflow, target)
        if origin.endswith("_PROCESSING"):
            expected.add((workflow.workflow_id, workflow.organization_id, workflow.version))
    assert {tuple(row) for row in await database.admin.fetch("SELECT * FROM calls")} == expected
    assert len(expected) == 18


# Beginning a step, locking, failing ---------------------------------------------------------------------------


async def begun(database: TenantDatabase, workflow: MadeWorkflow, step: Step) -> tuple[int, State, int, bool]:
    async with database.app.transaction(workflow.organization_id) as connection:
        result = await begin_step(
            connection, workflow.workflow_id, workflow.organization_id, step, actor="run", run_id="run 1"
        )
    return result.claim, result.state, result.version, result.already_begun


@pytest.mark.parametrize("step", WORKING_STEPS)
async def test_a_step_begins_from_the_state_before_and_from_pending(
    database: TenantDatabase, make_workflow: MakeWorkflow, step: Step
) -> None:
    processing = processing_state(step)
    before, pending = legal_path(processing)[-3:-1] if step is not Step.ICP else (State.CREATED, State.ICP_PENDING)
    for start, hops in ((before, 2), (pending, 1)):
        workflow = await make_workflow(start)
        claim = workflow.version + hops
        assert await begun(database, workflow, step) == (claim, processing, claim, False)
        assert await begun(database, workflow, step) == (claim, processing, claim, True)
        await audit_is_whole(database, workflow)
        async with database.app.transaction(workflow.organization_id) as connection:
            last = (await list_transitions(connection, workflow.workflow_id))[-1]
        assert last.transition_id == run_transition_id(workflow.workflow_id, claim - 1, processing)
        assert (last.actor, last.run_id) == ("run", "run 1")


async def test_a_step_begins_from_no_other_state(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    for state in State:
        workflow = await make_workflow(state)
        for step in WORKING_STEPS:
            position = STEPS.index(step)
            before = State.CREATED if position == 0 else State(f"{STEPS[position - 1].name}_COMPLETED")
            if state in (before, State(f"{step.name}_PENDING"), processing_state(step)):
                continue
            with pytest.raises(WorkflowTransitionError) as refused:
                await begun(database, workflow, step)
            assert refused.value.reason == ("terminal" if state in legal_ends() else "conflict")
            assert refused.value.current_state is state
        assert await where_it_stands(database, workflow) == (state, workflow.version)


async def test_two_runs_that_begin_at_once_share_the_claim(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow()
    results = await asyncio.gather(*(begun(database, workflow, Step.ICP) for _ in range(8)))
    assert sorted(already for *_, already in results) == [False] + [True] * 7
    assert {claim for claim, *_ in results} == {2}
    await audit_is_whole(database, workflow)


async def test_a_workflow_that_does_not_exist_is_not_found(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow()
    stranger = MadeWorkflow(uuid4(), workflow.organization_id)
    for attempt in (
        advanced(database.app, transition_of(stranger, State.ICP_PENDING)),
        begun(database, stranger, Step.ICP),
    ):
        with pytest.raises(WorkflowTransitionError) as refused:
            await attempt
        assert (refused.value.reason, refused.value.http_status) == ("not_found", 404)
        assert (refused.value.current_state, refused.value.current_version) == (None, None)
    async with database.app.transaction(workflow.organization_id) as connection:
        assert await lock_workflow(connection, stranger.workflow_id, workflow.organization_id) is None


async def test_a_failure_is_noted_on_failed_states_and_cleared_by_leaving_them(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    failure = {"type": "CapReachedError", "message": "the cap is reached", "reasons": ["$1.00 of $1.00"]}
    workflow = await make_workflow(failed_state(Step.ICP))
    async with database.app.transaction(workflow.organization_id) as connection:
        await set_failure(connection, workflow.workflow_id, failure)
        record = await load_workflow(connection, workflow.workflow_id)
    assert record is not None
    assert record.failure == failure
    await walked(database, workflow, State.ICP_PROCESSING)
    async with database.app.transaction(workflow.organization_id) as connection:
        record = await load_workflow(connection, workflow.workflow_id)
    assert record is not None
    assert record.failure is None
    with pytest.raises(BadInputError, match="FAILED state only"):
        async with database.app.transaction(workflow.organization_id) as connection:
            await set_failure(connection, workflow.workflow_id, failure)
    with pytest.raises(BadInputError, match="does not exist"):
        async with database.app.transaction(uuid4()) as connection:
            await set_failure(connection, workflow.workflow_id, None)


async def test_a_null_argument_changes_nothing(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    workflow = await make_workflow(State.ICP_PENDING)
    arguments = [workflow.workflow_id, workflow.organization_id, "ICP_PENDING", 1, "ICP_PROCESSING", uuid4(), "x"]
    for position in range(len(arguments)):
        with pytest.raises((WorkflowTransitionError, BadInputError)):
            async with database.app.transaction(workflow.organization_id) as connection:
                await connection.fetchval(
                    "SELECT advance_workflow($1, $2, $3, $4, $5, $6, $7, NULL)",
                    *(None if index == position else value for index, value in enumerate(arguments)),
                )
    assert await where_it_stands(database, workflow) == (State.ICP_PENDING, 1)
