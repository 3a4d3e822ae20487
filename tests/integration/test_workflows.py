"""Creating, finding, reading workflows and raising their caps."""

import asyncio
from decimal import Decimal
from uuid import uuid4

import pytest

from db.workflows import create_workflow, find_organization, list_workflows, load_workflow, raise_cap
from domain.brief import brief_from_mapping
from domain.errors import BadInputError, IdempotencyConflictError
from domain.states import State
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase, new_workflow


async def created(database: TenantDatabase, new: object) -> bool:
    async with database.app.transaction(new.organization_id) as connection:  # type: ignore[attr-defined]
        return await create_workflow(connection, new)  # type: ignore[arg-type]


async def test_a_created_workflow_reads_as_it_was_written(database: TenantDatabase) -> None:
    new = new_workflow(name="spring", cap_usd=Decimal("0.123456789"))
    assert not await created(database, new)
    async with database.app.transaction(new.organization_id) as connection:
        record = await load_workflow(connection, new.workflow_id)
    assert record is not None
    assert (record.state, record.version, record.failure, record.frozen_reason) == (State.CREATED, 0, None, None)
    assert (record.cap_usd, record.spent_usd, record.held_usd) == (Decimal("0.123456789"), 0, 0)
    assert (record.brief, record.settings, record.brief_hash) == (new.brief, new.settings, new.brief_hash)
    assert (record.name, record.started_by, record.organization_id) == ("spring", "tests", new.organization_id)
    assert record.created_at.utcoffset() is not None


async def test_the_plans_cap_is_the_default(database: TenantDatabase) -> None:
    new = new_workflow(cap_usd=None)
    await created(database, new)
    async with database.app.transaction(new.organization_id) as connection:
        record = await load_workflow(connection, new.workflow_id)
    assert record is not None
    assert record.cap_usd == Decimal("1.00")


async def test_a_plan_without_a_cap_refuses_a_brief_without_one(database: TenantDatabase) -> None:
    for nothing in ("NULL", "0"):
        await database.admin.execute(f"UPDATE plans SET workflow_cap_usd = {nothing}")
        with pytest.raises(
            BadInputError, match=r"default allows a workflow nothing; give it one: starter.py plans set"
        ):
            await created(database, new_workflow(cap_usd=None))


@pytest.mark.parametrize(("brief", "cap"), [({}, "0.25"), ({"cap_usd": "0.50"}, "0.50")])
async def test_a_brief_that_names_no_cap_gets_its_plans(
    database: TenantDatabase, brief: dict[str, str], cap: str
) -> None:
    await database.admin.execute("UPDATE plans SET workflow_cap_usd = 0.25")
    organization = {"name": "Harborline", "url": "https://harborline.example", "description": "sells " * 20}
    new = new_workflow(cap_usd=brief_from_mapping({"organization": organization, **brief}).cap_usd)
    await created(database, new)
    async with database.app.transaction(new.organization_id) as connection:
        record = await load_workflow(connection, new.workflow_id)
    assert record is not None
    assert record.cap_usd == Decimal(cap)


@pytest.mark.parametrize("cap", ["0", "-1"])
async def test_a_cap_must_be_above_zero(database: TenantDatabase, cap: str) -> None:
    new = new_workflow(cap_usd=Decimal(cap))
    with pytest.raises(BadInputError, match="above 0"):
        await created(database, new)
    async with database.app.transaction(new.organization_id) as connection:
        assert await load_workflow(connection, new.workflow_id) is None


async def test_the_same_name_and_brief_again_is_the_same_workflow(database: TenantDatabase) -> None:
    new = new_workflow(name="spring")
    results = await asyncio.gather(*(created(database, new) for _ in range(10)))
    assert sorted(results) == [False] + [True] * 9
    assert await created(database, new)


async def test_the_same_name_with_another_brief_is_a_conflict(database: TenantDatabase) -> None:
    new = new_workflow(name="spring")
    await created(database, new)
    for other in ({"brief_hash": "other"}, {"workflow_id": uuid4()}, {"workflow_id": uuid4(), "brief_hash": "other"}):
        with pytest.raises(IdempotencyConflictError, match="'spring' with another brief"):
            await created(database, new.model_copy(update=other))


async def test_the_operator_finds_whose_workflow_it_is(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    workflow = await make_workflow(domain="ledgerpilot.example")
    async with database.operator.reading() as connection:
        assert await find_organization(connection, workflow.workflow_id) == workflow.organization_id
        assert await find_organization(connection, uuid4()) is None


async def test_workflows_are_listed_youngest_first(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    first = await make_workflow(domain="a.example")
    second = await make_workflow(domain="b.example")
    async with database.operator.reading() as connection:
        listed = [record.workflow_id for record in await list_workflows(connection, 10)]
        assert listed == [second.workflow_id, first.workflow_id]
        assert len(await list_workflows(connection, 1)) == 1


# Caps ---------------------------------------------------------------------------------------------------------


async def raised(database: TenantDatabase, workflow: MadeWorkflow, cap: str, decision: object = None) -> Decimal:
    async with database.app.transaction(workflow.organization_id) as connection:
        return await raise_cap(
            connection,
            workflow.workflow_id,
            workflow.organization_id,
            Decimal(cap),
            decision_id=decision or uuid4(),  # type: ignore[arg-type]
            actor="anna",
        )


async def test_a_cap_is_raised_once_per_decision_and_noted(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    workflow = await make_workflow()
    decision = uuid4()
    assert await raised(database, workflow, "2.5", decision) == Decimal("2.5")
    assert await raised(database, workflow, "2.5", decision) == Decimal("2.5")
    assert await raised(database, workflow, "2.5") == Decimal("2.5")
    assert await raised(database, workflow, "4") == Decimal(4)
    assert await raised(database, workflow, "2.5", decision) == Decimal(4)
    with pytest.raises(IdempotencyConflictError):
        await raised(database, workflow, "9", decision)
    async with database.app.transaction(workflow.organization_id) as connection:
        notes = await connection.fetch("SELECT decision_id, from_usd, to_usd, actor FROM cap_changes ORDER BY at")
        record = await load_workflow(connection, workflow.workflow_id)
    assert [(note["from_usd"], note["to_usd"], note["actor"]) for note in notes] == [
        (Decimal(1), Decimal("2.5"), "anna"),
        (Decimal("2.5"), Decimal(4), "anna"),
    ]
    assert notes[0]["decision_id"] == decision
    assert record is not None
    assert record.cap_usd == Decimal(4)


@pytest.mark.parametrize(
    ("state", "cap", "message"),
    [
        (State.CREATED, "0.99", "only be raised: it is 1 USD now, asked for was 0.99"),
        (State.CANCELLED, "2", "is CANCELLED: its cap is final"),
        (State.COMPLETED, "2", "is COMPLETED: its cap is final"),
    ],
)
async def test_a_cap_is_never_lowered_and_final_at_the_end(
    database: TenantDatabase, make_workflow: MakeWorkflow, state: State, cap: str, message: str
) -> None:
    workflow = await make_workflow(state)
    with pytest.raises(BadInputError, match=message) as refused:
        await raised(database, workflow, cap)
    assert refused.value.field == "cap_usd"


async def test_a_cap_that_is_no_number_is_refused(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    workflow = await make_workflow()
    with pytest.raises(BadInputError):
        await raised(database, workflow, "NaN")
    async with database.app.transaction(workflow.organization_id) as connection:
        statement = "SELECT raise_workflow_cap($1, $2, 'NaN', gen_random_uuid(), 'anna')"
        with pytest.raises(Exception, match="only be raised"):
            await connection.fetchval(statement, workflow.workflow_id, workflow.organization_id)
