"""Vectors are stored once: the first of a text stays, for one model and one workflow."""

import math

import pytest

from db.keyword_vectors import load_vectors, store_vectors
from domain.embeddings import PARTS, unit_vector
from domain.errors import BadInputError, IdempotencyConflictError, InvalidModelOutputError
from domain.progress import WorkflowRef
from tests.conftest import MadeWorkflow, MakeWorkflow, TenantDatabase

MODEL = "model 1"


def ref_of(made: MadeWorkflow) -> WorkflowRef:
    return WorkflowRef(workflow_id=made.workflow_id, organization_id=made.organization_id)


async def test_a_vector_comes_back_as_it_was_stored(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    ref = ref_of(await make_workflow())
    given = {"invoice approval": [3.0, -4.0], "supplier’s portal": [math.sin(place) for place in range(1536)]}
    async with database.app.transaction(ref.organization_id) as connection:
        await store_vectors(connection, ref, MODEL, given)
        stored = await load_vectors(connection, ref.workflow_id, MODEL, [*given, "unknown"])
    assert stored == {text: unit_vector(vector) for text, vector in given.items()}
    assert stored["invoice approval"] == (round(0.6 * PARTS), -round(0.8 * PARTS))


async def test_the_first_vector_of_a_text_stays(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    ref, other = ref_of(await make_workflow()), ref_of(await make_workflow(name="other"))
    async with database.app.transaction(ref.organization_id) as connection:
        await store_vectors(connection, ref, MODEL, {"a": [1.0, 0.0]})
        await store_vectors(connection, ref, MODEL, {"a": [0.0, 1.0], "b": [0.0, 1.0]})
        await store_vectors(connection, ref, "model 2", {"a": [0.0, 1.0]})
        await store_vectors(connection, ref, MODEL, {})
        assert await load_vectors(connection, ref.workflow_id, MODEL, ["a", "b"]) == {"a": (PARTS, 0), "b": (0, PARTS)}
        assert await load_vectors(connection, ref.workflow_id, "model 2", ["a", "b"]) == {"a": (0, PARTS)}
        assert await load_vectors(connection, other.workflow_id, MODEL, ["a"]) == {}


async def test_another_organizations_vectors_are_none(database: TenantDatabase, make_workflow: MakeWorkflow) -> None:
    mine, theirs = ref_of(await make_workflow()), ref_of(await make_workflow(domain="ledgerpilot.example"))
    async with database.app.transaction(theirs.organization_id) as connection:
        await store_vectors(connection, theirs, MODEL, {"a": [1.0]})
    crossed = WorkflowRef(workflow_id=theirs.workflow_id, organization_id=mine.organization_id)
    async with database.app.transaction(mine.organization_id) as connection:
        assert await load_vectors(connection, theirs.workflow_id, MODEL, ["a"]) == {}
    with pytest.raises((BadInputError, IdempotencyConflictError)):
        async with database.app.transaction(mine.organization_id) as connection:
            await store_vectors(connection, crossed, MODEL, {"a": [1.0]})


async def test_nothing_is_stored_of_a_batch_with_a_vector_without_direction(
    database: TenantDatabase, make_workflow: MakeWorkflow
) -> None:
    ref = ref_of(await make_workflow())
    with pytest.raises(InvalidModelOutputError):
        async with database.app.transaction(ref.organization_id) as connection:
            await store_vectors(connection, ref, MODEL, {"a": [1.0], "b": [0.0]})
    async with database.app.transaction(ref.organization_id) as connection:
        assert await load_vectors(connection, ref.workflow_id, MODEL, ["a", "b"]) == {}
