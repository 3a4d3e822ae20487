"""Random transitions by several actors, compared with a model of the graph after every step (S1, S3, S4, S5, S6)."""

import itertools
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from db.transitions import Advance, advance, begin_step, check_claim
from db.workflows import create_workflow
from domain.errors import ClaimLostError, ConfigurationError, PipelineError, WorkflowTransitionError
from domain.identifiers import decision_transition_id, run_transition_id
from domain.states import State, Step
from tests.conftest import TenantDatabase, new_workflow
from tests.model.machines import IS_LONG, Bench, bounded, run_machine, together

# The design's table once more, in its own words: the model shares nothing with the code that it judges.
WORKING = ("ICP", "COMPETITOR", "CLUSTERING", "VALIDATION", "ARTICLE", "PUBLISH")
BETWEEN = """
CREATED ICP_PENDING
ICP_COMPLETED COMPETITOR_PENDING
COMPETITOR_COMPLETED SEED_REVIEW_PENDING
SEED_REVIEW_PENDING SEED_REVIEW_COMPLETED
SEED_REVIEW_PENDING COMPETITOR_PENDING
SEED_REVIEW_COMPLETED CLUSTERING_PENDING
CLUSTERING_COMPLETED VALIDATION_PENDING
VALIDATION_COMPLETED ARTICLE_PENDING
CLUSTERING_FAILED SEED_REVIEW_PENDING
VALIDATION_FAILED SEED_REVIEW_PENDING
ARTICLE_COMPLETED PUBLISH_PENDING
PUBLISH_PENDING ARTICLE_PENDING
PUBLISH_COMPLETED COMPLETED
"""
WITHIN = "PENDING PROCESSING", "PROCESSING COMPLETED", "PROCESSING FAILED", "FAILED PROCESSING"
TERMINAL = {"COMPLETED", "CANCELLED"}


def edges_of_the_design() -> set[tuple[str, str]]:
    edges = {tuple(line.split()) for line in BETWEEN.strip().splitlines()}
    for name, pair in itertools.product(WORKING, WITHIN):
        origin, target = pair.split()
        edges.add((f"{name}_{origin}", f"{name}_{target}"))
    origins = {origin for origin, _ in edges}
    return {(origin, target) for origin, target in edges} | {(origin, "CANCELLED") for origin in origins}


EDGES = edges_of_the_design()
# From where a step begins by itself; out of the gates, and of what failed, it is a person who moves on.
BEFORE = {
    target.removesuffix("_PENDING"): origin
    for origin, target in EDGES
    if target.endswith("_PENDING") and (origin == "CREATED" or origin.endswith("_COMPLETED"))
}
STATES = sorted({state for edge in EDGES for state in edge})


def test_the_model_knows_the_designs_graph() -> None:
    assert (len(STATES), len(EDGES)) == (29, 64)
    assert {str(state) for state in State} == set(STATES)


@dataclass
class Row:
    """What the model believes of one workflow: each entry of ``made`` is a transition and the version it made."""

    workflow_id: UUID
    organization_id: UUID
    state: str = "CREATED"
    version: int = 0
    made: list[tuple[Advance, int]] = field(default_factory=list)
    claims: list[tuple[Step, int]] = field(default_factory=list)

    def exits(self) -> list[str]:
        return sorted(target for origin, target in EDGES if origin == self.state)

    def answer(self, asked: Advance) -> str | int:
        """The version that comes back, or the reason of the refusal."""
        for known, version in self.made:
            if known.transition_id == asked.transition_id:
                facts = (known.expected_state, known.expected_version, known.next_state)
                same = facts == (asked.expected_state, asked.expected_version, asked.next_state)
                return version if same else "IdempotencyConflictError"
        if self.state in TERMINAL:
            return "terminal"
        if (str(asked.expected_state), str(asked.next_state)) not in EDGES:
            return "illegal"
        if (self.state, self.version) != (asked.expected_state, asked.expected_version):
            return "conflict"
        return self.version + 1

    def take(self, asked: Advance) -> str | int:
        answer = self.answer(asked)
        if answer == self.version + 1 and all(asked.transition_id != known.transition_id for known, _ in self.made):
            self.made.append((asked, self.version + 1))
            self.state, self.version = str(asked.next_state), self.version + 1
            if self.state.endswith("_PROCESSING"):
                self.claims.append((Step(self.state.removesuffix("_PROCESSING").lower()), self.version))
        return answer


class UndoneError(Exception):
    pass


picks = st.integers(0, 999)


class GraphMachine(RuleBasedStateMachine):
    """Two workflows of two organizations; every rule may be played on either."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.rows: list[Row] = []

    @initialize(hops=st.lists(picks, max_size=30))
    def two_workflows(self, hops: list[int]) -> None:
        self.rows = self.bench.run(self._created())
        for hop in hops:
            self._walk_on(self.rows[0], hop)

    def _walk_on(self, row: Row, pick: int) -> None:
        exits = [state for state in row.exits() if state != "CANCELLED"]
        if exits:
            self._expect(row, self._asked(row, row.state, row.version, exits[pick % len(exits)]))

    async def _created(self) -> list[Row]:
        rows = []
        for _ in range(2):
            new = new_workflow(domain=f"{uuid4()}.example")
            async with self.bench.app.transaction(new.organization_id) as connection:
                await create_workflow(connection, new)
            rows.append(Row(new.workflow_id, new.organization_id))
        return rows

    def _asked(self, row: Row, expected: str, version: int, following: str, id_: UUID | None = None) -> Advance:
        return Advance(
            workflow_id=row.workflow_id,
            organization_id=row.organization_id,
            expected_state=State(expected),
            expected_version=version,
            next_state=State(following),
            transition_id=id_ or run_transition_id(row.workflow_id, version, following),
            actor=f"actor of {row.version}",
        )

    async def _ask(self, asked: Advance, as_organization: UUID | None = None) -> str | int:
        try:
            async with self.bench.app.transaction(as_organization or asked.organization_id) as connection:
                return (await advance(connection, asked)).version
        except WorkflowTransitionError as error:
            return str(error.reason)
        except PipelineError as error:
            return type(error).__name__

    def _expect(self, row: Row, asked: Advance) -> None:
        wanted = row.take(asked)
        found = self.bench.run(self._ask(asked))
        assert found == wanted, f"{asked} was answered with {found}, the model says {wanted}"

    # Rules ----------------------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), pick=picks, by_a_person=st.booleans())
    def goes_on(self, which: int, pick: int, by_a_person: bool) -> None:
        row = self.rows[which]
        exits = [state for state in row.exits() if state != "CANCELLED"] or ["ICP_PENDING"]
        id_ = decision_transition_id(row.workflow_id, str(uuid4())) if by_a_person else None
        self._expect(row, self._asked(row, row.state, row.version, exits[pick % len(exits)], id_))

    @rule(which=st.integers(0, 1), is_meant=st.integers(0, 7))
    def is_cancelled(self, which: int, is_meant: int) -> None:
        row = self.rows[which]
        if is_meant == 0:  # seldom: nothing happens after it
            self._expect(row, self._asked(row, row.state, row.version, "CANCELLED"))

    @rule(which=st.integers(0, 1), pick=picks)
    def takes_no_other_edge(self, which: int, pick: int) -> None:
        row = self.rows[which]
        others = [state for state in STATES if (row.state, state) not in EDGES]
        self._expect(row, self._asked(row, row.state, row.version, others[pick % len(others)], uuid4()))

    @rule(which=st.integers(0, 1), pick=picks, back=st.integers(-2, 3))
    def is_asked_by_one_who_is_late(self, which: int, pick: int, back: int) -> None:
        row = self.rows[which]
        expected, following = sorted(EDGES)[pick % len(EDGES)]
        exits = row.exits()
        if pick % 2 and exits:
            expected, following = row.state, exits[pick % len(exits)]
        if (expected, back) != (row.state, 0):
            self._expect(row, self._asked(row, expected, row.version - back, following, uuid4()))

    @precondition(lambda self: any(row.made for row in self.rows))
    @rule(which=st.integers(0, 1), pick=picks, together_=st.booleans())
    def asks_the_same_again(self, which: int, pick: int, together_: bool) -> None:
        row = self.rows[which] if self.rows[which].made else max(self.rows, key=lambda one: one.version)
        asked, version = row.made[pick % len(row.made)]
        again = [asked.model_copy(update={"actor": "another"})] * (3 if together_ else 1)
        assert self.bench.run(together(*[self._ask(one) for one in again])) == [version] * len(again)

    @precondition(lambda self: any(row.made for row in self.rows))
    @rule(which=st.integers(0, 1), pick=picks, change=st.sampled_from(["version", "state", "workflow"]))
    def uses_an_id_twice(self, which: int, pick: int, change: str) -> None:
        row = self.rows[which] if self.rows[which].made else max(self.rows, key=lambda one: one.version)
        asked, _ = row.made[pick % len(row.made)]
        others: dict[str, dict[str, Any]] = {
            "version": {"expected_version": asked.expected_version + 1},
            "state": {"next_state": State.ICP_FAILED if asked.next_state is State.CANCELLED else State.CANCELLED},
            "workflow": {"expected_state": State.PUBLISH_FAILED},
        }
        self._expect(row, asked.model_copy(update=others[change]))

    @rule(which=st.integers(0, 1), first=picks, second=picks)
    def is_raced_for(self, which: int, first: int, second: int) -> None:
        """Two actors, two transitions out of one state at once: one wins, the other is told so."""
        row = self.rows[which]
        exits = row.exits() or ["CANCELLED"]
        pair = [self._asked(row, row.state, row.version, exits[pick % len(exits)], uuid4()) for pick in (first, second)]
        if any(asked.next_state is State.CANCELLED for asked in pair) and first % 4:
            return
        answers = self.bench.run(together(*[self._ask(asked) for asked in pair]))
        order = pair if answers[0] == row.version + 1 else pair[::-1]
        found = answers if order is pair else answers[::-1]
        assert found == [row.take(asked) for asked in order]

    @rule(which=st.integers(0, 1), pick=picks)
    def is_tried_twice_at_once(self, which: int, pick: int) -> None:
        """The second try of one transition overlaps the first."""
        row = self.rows[which]
        exits = [state for state in row.exits() if state != "CANCELLED"]
        if exits:
            asked = self._asked(row, row.state, row.version, exits[pick % len(exits)])
            answers = self.bench.run(together(self._ask(asked), self._ask(asked)))
            assert answers == [row.take(asked)] * 2

    @rule(which=st.integers(0, 1), pick=picks)
    def is_rolled_back(self, which: int, pick: int) -> None:
        row = self.rows[which]
        exits = row.exits()

        async def work() -> None:
            async with self.bench.app.transaction(row.organization_id) as connection:
                await advance(connection, self._asked(row, row.state, row.version, exits[pick % len(exits)], uuid4()))
                raise UndoneError

        if exits:
            with pytest.raises(UndoneError):
                self.bench.run(work())

    @rule(which=st.integers(0, 1), pick=picks, as_itself=st.booleans())
    def is_asked_by_a_stranger(self, which: int, pick: int, as_itself: bool) -> None:
        row, stranger = self.rows[which], self.rows[1 - which]
        exits = row.exits() or ["CANCELLED"]
        asked = self._asked(row, row.state, row.version, exits[pick % len(exits)])
        if row.made and pick % 2:
            asked = row.made[pick % len(row.made)][0]
        if as_itself:
            asked = asked.model_copy(update={"organization_id": stranger.organization_id})
        assert self.bench.run(self._ask(asked, stranger.organization_id)) == "not_found"

    @rule(which=st.integers(0, 1), step=st.sampled_from([step for step in Step if step is not Step.SEED_REVIEW]))
    def begins_a_step(self, which: int, step: Step) -> None:
        row = self.rows[which]
        name = step.name
        wanted: object
        if row.state == f"{name}_PROCESSING":
            wanted = (row.version, True)
        elif row.state in TERMINAL:
            wanted = "terminal"
        elif row.state == f"{name}_PENDING" or row.state == BEFORE.get(name):
            wanted = self._model_begins(row, name)
        else:
            wanted = "conflict"
        assert self.bench.run(self._begun(row, step)) == wanted

    def _model_begins(self, row: Row, name: str) -> tuple[int, bool]:
        hops = [f"{name}_PROCESSING"] if row.state == f"{name}_PENDING" else [f"{name}_PENDING", f"{name}_PROCESSING"]
        for hop in hops:
            row.take(self._asked(row, row.state, row.version, hop))
        return row.version, False

    async def _begun(self, row: Row, step: Step) -> object:
        try:
            async with self.bench.app.transaction(row.organization_id) as connection:
                begun = await begin_step(connection, row.workflow_id, row.organization_id, step, actor="run")
            return begun.claim, begun.already_begun
        except WorkflowTransitionError as error:
            return error.reason

    @precondition(lambda self: any(row.claims for row in self.rows))
    @rule(which=st.integers(0, 1), pick=picks)
    def checks_a_claim(self, which: int, pick: int) -> None:
        row = self.rows[which]
        if not row.claims:
            return
        step, claim = row.claims[pick % len(row.claims)]
        holds = (row.state, row.version) == (f"{step.name}_PROCESSING", claim)
        assert self.bench.run(self._holds(row, step, claim)) == holds

    async def _holds(self, row: Row, step: Step, claim: int) -> bool:
        try:
            async with self.bench.app.transaction(row.organization_id) as connection:
                await check_claim(connection, row.workflow_id, row.organization_id, step, claim)
        except ClaimLostError:
            return False
        return True

    @rule(which=st.integers(0, 1), pick=picks)
    def is_tampered_with(self, which: int, pick: int) -> None:
        """No statement of the application's role, and none of the owner's, goes round the function."""
        row = self.rows[which]
        statements = [
            "UPDATE intent_workflows SET state = $2 WHERE id = $1",
            "UPDATE intent_workflows SET version = version + 1 WHERE id = $1 AND $2 <> ''",
            "DELETE FROM intent_workflows WHERE id = $1 AND $2 <> ''",
            "DELETE FROM workflow_transitions WHERE workflow_id = $1 AND $2 <> ''",
            "UPDATE workflow_transitions SET to_state = $2 WHERE workflow_id = $1",
        ]
        statement = statements[pick % len(statements)]
        following = (row.exits() or ["CANCELLED"])[0]
        with pytest.raises(ConfigurationError, match="42501"):
            self.bench.run(self._by_the_application(row, statement, following))
        if pick % len(statements) < 2:
            with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                self.bench.run(self._by_the_owner(row, following))

    async def _by_the_application(self, row: Row, statement: str, following: str) -> None:
        async with self.bench.app.transaction(row.organization_id) as connection:
            await connection.execute(statement, row.workflow_id, following)

    async def _by_the_owner(self, row: Row, following: str) -> None:
        async with self.bench.admin.transaction():
            await self.bench.admin.execute("SET LOCAL ROLE infin8_owner")
            await self.bench.admin.execute(
                "SELECT set_config('app.organization_id', $1, true)", str(row.organization_id)
            )
            await self.bench.admin.execute(
                "UPDATE intent_workflows SET state = $2, version = version + 1 WHERE id = $1",
                row.workflow_id,
                following,
            )

    # What holds after every step --------------------------------------------------------------------------------

    @invariant()
    def the_rows_say_what_the_model_says(self) -> None:
        for row in self.rows:
            state, version, audit = self.bench.run(self._stored(row))
            assert (state, version) == (row.state, row.version)
            assert [tuple(entry.values())[:6] for entry in audit] == [
                (made.transition_id, version, made.expected_state, made.next_state, version - 1, row.organization_id)
                for made, version in row.made
            ]
            self._audit_is_whole(state, version, audit)

    def _audit_is_whole(self, state: str, version: int, audit: list[Any]) -> None:
        """S1, S3: judged by the rows alone."""
        folded = "CREATED"
        for seq, entry in enumerate(audit, start=1):
            assert (entry["seq"], entry["from_state"]) == (seq, folded)
            assert (entry["from_state"], entry["to_state"]) in EDGES
            folded = entry["to_state"]
        assert (folded, len(audit)) == (state, version)

    async def _stored(self, row: Row) -> tuple[str, int, list[Any]]:
        async with self.bench.admin.transaction(isolation="repeatable_read", readonly=True):
            found = await self.bench.admin.fetchrow(
                "SELECT state, version FROM intent_workflows WHERE id = $1", row.workflow_id
            )
            audit = await self.bench.admin.fetch(
                """
                SELECT transition_id, seq, from_state, to_state, expected_version, organization_id
                FROM workflow_transitions WHERE workflow_id = $1 ORDER BY seq
                """,
                row.workflow_id,
            )
        assert found is not None
        return found["state"], found["version"], list(audit)


@pytest.mark.timeout(0 if IS_LONG else 300)
def test_S1_S3_S4_S5_S6_the_graph_is_its_model(database: TenantDatabase) -> None:
    run_machine(database, GraphMachine, bounded(examples=50, steps=40))
