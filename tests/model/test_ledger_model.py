"""Random calls of the money core, each also repeated and overlapping itself, compared with a model after every step.

L1, L8, L9, L10 by the rows alone, L7 against the bill that a provider would send, L16 (months turn), L18, L20, L22 by
the model: attempts, ledger and counters must be exactly what it says.
"""

from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from db import spend
from db.transitions import Advance, advance
from db.workflows import create_workflow, raise_cap
from domain.errors import PipelineError
from domain.identifiers import run_transition_id
from domain.money import Usage
from domain.spend import NewAttempt, ProviderAnswer, UnknownOutcome
from domain.states import State
from tests.conftest import MadeWorkflow, TenantDatabase, new_workflow
from tests.integration.money_cases import IMBALANCES, MINI, MISBOOKED, NOT_BILLED, SONAR, Till, an_ask, chat
from tests.model.ledger import (
    BAD,
    CONFLICT,
    LOST,
    OPEN,
    USD,
    Ask,
    Attempt,
    Bill,
    Ledger,
    Organization,
    Scope,
    Workflow,
    usage_cost,
)
from tests.model.machines import IS_LONG, Bench, bounded, run_machine, together

CAPS = (2_000_000, 6_000_000, 20_000_000)
MONTH_CAPS = (None, 0, 2_500_000, 9_000_000, 40_000_000)
SLOTS = ("icp", "article:1:section:1", "labels")
STAGES = ("authorized", "sent", "answered", "settled", "settled", "unknown", "written off")
BILLS = ("computed", "computed", "figure", "figure", "free", "over")
HOW_OFTEN = ("once", "once", "twice", "together")
# Months turn per organization: the clock of the money functions, moved on by what this table says.
CLOCK = """
CREATE TABLE IF NOT EXISTS model_clock (organization_id uuid PRIMARY KEY, months integer NOT NULL);
GRANT SELECT ON model_clock TO infin8_owner, infin8_app, infin8_operator;
CREATE OR REPLACE FUNCTION current_spend_month() RETURNS date
LANGUAGE sql VOLATILE SET search_path = public, pg_temp AS $$
    SELECT spend_month(clock_timestamp() + make_interval(months => coalesce((
        SELECT months FROM model_clock
        WHERE organization_id = nullif(current_setting('app.organization_id', true), '')::uuid), 0)))
$$;
"""


def nano(amount: Decimal | None) -> int | None:
    return None if amount is None else int(amount * USD)


def dollars(amount: int) -> Decimal:
    return Decimal(amount) / USD


def has(*states: str) -> Callable[["LedgerMachine"], bool]:
    return lambda machine: any(attempt.state in states for attempt in machine.ledger.attempts.values())


class LedgerMachine(RuleBasedStateMachine):
    """Two workflows that share a month, and one of another organization."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.ledger = Ledger()
        self.organizations: list[Organization] = []
        self.tills: dict[UUID, Till] = {}
        self.first_month = None

    @initialize(
        cap=st.sampled_from(CAPS),
        month_cap=st.sampled_from(MONTH_CAPS[2:]),
        calls=st.lists(
            st.tuples(st.integers(0, 99), st.sampled_from(STAGES), st.sampled_from(BILLS), st.integers(0, 1000)),
            max_size=8,
        ),
    )
    def opens(self, cap: int, month_cap: int, calls: list[tuple[int, str, str, int]]) -> None:
        self.bench.run(self.bench.admin.execute(CLOCK))
        self.first_month = self.bench.run(self.bench.admin.fetchval("SELECT spend_month(clock_timestamp())"))
        for workflows in (2, 1):
            domain = f"{uuid4()}.example"
            made = [self.bench.run(self._made(domain, cap)) for _ in range(workflows)]
            organization = Organization(made[0].organization_id, month_cap)
            self.organizations.append(organization)
            self.bench.run(self._plan(organization))
            for one in made:
                self.ledger.workflows.append(Workflow(one.workflow_id, organization, cap, one.version, claims=[2]))
                self.tills[one.workflow_id] = Till(self.bench.app, one)
        for which, until, bill, share in calls:
            self.pays_for_a_whole_call(which, until, bill, share)
        if len(calls) % 2:
            self.asks_for_more_than_there_is(0, months_on=False)

    async def _made(self, domain: str, cap: int) -> MadeWorkflow:
        new = new_workflow(domain=domain, cap_usd=dollars(cap))
        workflow = MadeWorkflow(new.workflow_id, new.organization_id, State.ICP_PROCESSING, 2)
        async with self.bench.app.transaction(new.organization_id) as connection:
            await create_workflow(connection, new)
        before = State.CREATED
        for version, state in enumerate((State.ICP_PENDING, State.ICP_PROCESSING)):
            await self._advance(workflow, before, version, state)
            before = state
        return workflow

    async def _advance(self, workflow: MadeWorkflow, state: State, version: int, following: State) -> None:
        async with self.bench.app.transaction(workflow.organization_id) as connection:
            await advance(
                connection,
                Advance(
                    workflow_id=workflow.workflow_id,
                    organization_id=workflow.organization_id,
                    expected_state=state,
                    expected_version=version,
                    next_state=following,
                    transition_id=run_transition_id(workflow.workflow_id, version, following),
                    actor="the model",
                ),
            )

    async def _plan(self, organization: Organization) -> None:
        key, cap = str(organization.organization_id), organization.month_cap
        figures = (key, Decimal(1), None if cap is None else dollars(cap))
        await self.bench.admin.execute(
            """
            INSERT INTO plans (plan_key, workflow_cap_usd, month_cap_usd) VALUES ($1, $2, $3)
            ON CONFLICT (plan_key) DO UPDATE SET month_cap_usd = excluded.month_cap_usd
            """,
            *figures,
        )
        await self.bench.admin.execute(
            "UPDATE organizations SET plan_key = $2 WHERE organization_id = $1", organization.organization_id, key
        )

    # Calls ----------------------------------------------------------------------------------------------------

    def _play(self, how_often: str, call: Callable[[], Awaitable[Any]], model: Callable[[], Any]) -> None:
        """The call, once or again or overlapping itself, answers as the model does."""
        times = 1 if how_often == "once" else 2
        wanted = [model() for _ in range(times)]
        found = self.bench.run(self._found(how_often == "together", [call] * times))
        if how_often == "together":
            wanted, found = sorted(wanted, key=repr), sorted(found, key=repr)
        assert found == wanted, f"the database answered {found}, the model says {wanted}"

    async def _found(self, at_once: bool, calls: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
        if at_once:
            return await together(*[self._answer(call) for call in calls])
        return [await self._answer(call) for call in calls]

    async def _answer(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except PipelineError as error:
            return type(error).__name__

    def _workflow(self, pick: int) -> Workflow:
        return self.ledger.workflows[pick % len(self.ledger.workflows)]

    def _attempt(self, pick: int, *likely: str) -> tuple[UUID, Till, Attempt | None]:
        """Mostly an attempt that the call is meant for; now and then any, or one that nobody authorized."""
        attempts = list(self.ledger.attempts.values())
        fitting = [one for one in attempts if one.state in likely]
        if pick % 10 != 9 and fitting:
            attempts = fitting
        if not attempts or pick % 50 == 49:
            return uuid4(), self.tills[self._workflow(pick).workflow_id], None
        attempt = attempts[pick // 10 % len(attempts)]
        return attempt.attempt_id, self.tills[attempt.workflow.workflow_id], attempt

    # Rules ----------------------------------------------------------------------------------------------------

    @rule(
        which=st.integers(0, 99),
        asks=st.lists(
            st.tuples(
                st.sampled_from(SLOTS),
                st.integers(1, 3),
                st.sampled_from(("same question", "same question", "another")),
                st.sampled_from((*[MINI] * 12, SONAR, SONAR, "nobody/nothing")),
                st.sampled_from((10, 200, 1000)),
            ),
            min_size=1,
            max_size=4,
        ),
        claims_back=st.sampled_from((0, 0, 0, 0, 0, 1)),
        is_due=st.sampled_from((False, False, False, True)),
        how_often=st.sampled_from(HOW_OFTEN),
    )
    def authorizes(
        self, which: int, asks: list[tuple[str, int, str, str, int]], claims_back: int, is_due: bool, how_often: str
    ) -> None:
        workflow = self._workflow(which)
        claim = workflow.claims[-1 - min(claims_back, len(workflow.claims) - 1)]
        till = self.tills[workflow.workflow_id]
        built = [self._asked(till, claim, *ask) for ask in asks]

        async def call() -> Any:
            return await self._authorized(till, [attempt for attempt, _ in built], 0 if is_due else 900)

        self._play(how_often, call, lambda: self.ledger.authorize(workflow, [ask for _, ask in built], is_due))

    async def _authorized(self, till: Till, attempts: list[NewAttempt], expires_after_seconds: float) -> Any:
        decisions = await till.authorize(*attempts, expires_after_seconds=expires_after_seconds)
        return [
            (str(one.kind), one.attempt_id, nano(one.hold_usd), one.refusal and one.refusal.scope) for one in decisions
        ]

    @rule(which=st.integers(0, 99), months_on=st.booleans())
    def asks_for_more_than_there_is(self, which: int, months_on: bool) -> None:
        """A batch across the edge of the small caps; the next one of the same claim gets the same decisions."""
        workflow = self._workflow(which)
        till = self.tills[workflow.workflow_id]
        slot = f"edge {workflow.organization.months_on if months_on else ''}"
        built = [self._asked(till, workflow.claims[-1], slot, ask, f"{slot} {ask}", MINI, 1000) for ask in range(1, 8)]
        attempts, asks = [attempt for attempt, _ in built], [ask for _, ask in built]
        self._play(
            "once",
            lambda: self._authorized(till, attempts, 900),
            lambda: self.ledger.authorize(workflow, asks, is_due=False),
        )

    def _asked(
        self, till: Till, claim: int, slot: str, ask: int, slot_hash: str, model: str, max_tokens: int
    ) -> tuple[NewAttempt, Ask]:
        request = chat(model, max_tokens=max_tokens)
        attempt = an_ask(till.workflow, ask, slot=slot, claim=claim, slot_hash=slot_hash, request=request)
        in_model = Ask(attempt.attempt_id, slot, claim, ask, slot_hash, model, request.body_bytes, max_tokens)
        return attempt, in_model

    @precondition(has("RESERVED"))
    @rule(
        pick=st.integers(0, 999),
        bill=st.sampled_from(BILLS),
        share=st.integers(0, 1000),
        how_often=st.sampled_from(HOW_OFTEN),
    )
    def dispatches(self, pick: int, bill: str, share: int, how_often: str) -> None:
        attempt_id, till, attempt = self._attempt(pick, "RESERVED")
        charged = self._bill(attempt, bill, share) if attempt else Bill(0, 0, 0, True)

        async def call() -> bool:
            return (await till.dispatch(attempt_id))[0]

        self._play(how_often, call, lambda: self.ledger.dispatch(attempt_id, charged))

    def _bill(self, attempt: Attempt, kind: str, share: int) -> Bill:
        """What the provider will charge: by tokens within the request's limits, by a figure of its own up to the
        hold or, against all rules, above it, or nothing."""
        if kind == "computed" and attempt.refusal != "price":
            prompt, completion = 190 * share // 1000, 10 * share // 1000
            return Bill(usage_cost(attempt.model, prompt, completion), prompt, completion, says_figure=False)
        if kind == "free":
            return Bill(0, 0, 0, says_figure=True, is_free=True)
        if kind == "over" and share % 2 == 0:
            return Bill(attempt.hold + 1 + share, 9, 9, says_figure=True, broke_its_bound=True)
        return Bill(attempt.hold * share // 1000, 9, 9, says_figure=True)

    @precondition(has("DISPATCHED", "UNKNOWN", "WRITTEN_OFF"))
    @rule(pick=st.integers(0, 999), how_often=st.sampled_from(HOW_OFTEN), other_facts=st.integers(0, 9))
    def is_answered(self, pick: int, how_often: str, other_facts: int) -> None:
        """In time or late: an answer may come for UNKNOWN and WRITTEN_OFF attempts, terminal workflows included."""
        attempt_id, till, attempt = self._attempt(pick, "DISPATCHED", "DISPATCHED", "UNKNOWN", "WRITTEN_OFF")
        if (
            attempt
            and attempt.bill
            and attempt.bill.is_free
            and attempt.state in ("DISPATCHED", "UNKNOWN", "WRITTEN_OFF")
        ):
            return  # the provider refused this one
        is_other = other_facts == 0 and attempt is not None and attempt.state in ("ANSWERED", "SETTLED")
        answer = self._told(attempt, is_other)

        async def call() -> str:
            return str((await till.store(attempt_id, answer)).state)

        self._play(how_often, call, lambda: self.ledger.store_answer(attempt_id, not is_other))

    def _told(self, attempt: Attempt | None, is_other: bool = False) -> ProviderAnswer:
        bill = attempt.bill if attempt and attempt.bill else Bill(1, 1, 1, True)
        return ProviderAnswer(
            http_status=200,
            body="{}",
            model=attempt.model if attempt else MINI,
            generation_id=None,
            usage=Usage(
                prompt_tokens=bill.prompt_tokens + is_other,
                completion_tokens=bill.completion_tokens,
                cost_usd=None if bill.figure is None else dollars(bill.figure),
            ),
        )

    @precondition(has("DISPATCHED", "UNKNOWN", "WRITTEN_OFF"))
    @rule(pick=st.integers(0, 999), how_often=st.sampled_from(HOW_OFTEN))
    def is_not_billed(self, pick: int, how_often: str) -> None:
        attempt_id, till, attempt = self._attempt(pick, "DISPATCHED", "UNKNOWN", "WRITTEN_OFF")
        is_open = attempt is not None and attempt.state in ("DISPATCHED", "UNKNOWN", "WRITTEN_OFF")
        if attempt and attempt.bill and not attempt.bill.is_free and is_open:
            return  # the provider would lie

        async def call() -> str:
            return str((await till.store(attempt_id, NOT_BILLED)).state)

        self._play(how_often, call, lambda: self.ledger.store_not_billed(attempt_id))

    @precondition(has("DISPATCHED"))
    @rule(pick=st.integers(0, 999), has_body=st.booleans(), how_often=st.sampled_from(HOW_OFTEN))
    def is_lost_sight_of(self, pick: int, has_body: bool, how_often: str) -> None:
        attempt_id, till, _ = self._attempt(pick, "DISPATCHED")
        unknown = UnknownOutcome(reason="the connection broke", body="{}" if has_body else None)

        async def call() -> str:
            return str((await till.store(attempt_id, unknown)).state)

        self._play(how_often, call, lambda: self.ledger.store_unknown(attempt_id, has_body))

    @precondition(has("ANSWERED"))
    @rule(picks=st.lists(st.integers(0, 999), min_size=1, max_size=3), how_often=st.sampled_from(HOW_OFTEN))
    def settles(self, picks: list[int], how_often: str) -> None:
        chosen = [self._attempt(pick, "ANSWERED") for pick in picks]
        till = chosen[0][1]
        ids = [attempt_id for attempt_id, of, _ in chosen if of.workflow == till.workflow]

        async def call() -> Any:
            return [(one.attempt_id, nano(one.cost_usd), nano(one.overrun_usd)) for one in await till.settle(*ids)]

        self._play(how_often, call, lambda: self.ledger.settle(ids))

    @precondition(has("ANSWERED"))
    @rule(which=st.integers(0, 99), how_often=st.sampled_from(HOW_OFTEN))
    def settles_all(self, which: int, how_often: str) -> None:
        workflow = self._workflow(which)
        till = self.tills[workflow.workflow_id]

        async def call() -> Any:
            async with till.database.transaction(till.organization_id) as connection:
                settled = await spend.settle_answered(connection, workflow.workflow_id, till.organization_id)
            return [(one.attempt_id, nano(one.cost_usd), nano(one.overrun_usd)) for one in settled]

        # Overlapping itself, the second call may list what it saw ANSWERED before the first one was through.
        often = "twice" if how_often == "together" else how_often
        self._play(often, call, lambda: self.ledger.settle_answered(workflow))

    @precondition(has("ANSWERED", "UNKNOWN", "WRITTEN_OFF"))
    @rule(pick=st.integers(0, 999), how_often=st.sampled_from(HOW_OFTEN))
    def is_recorded_by_its_old_name(self, pick: int, how_often: str) -> None:
        attempt_id, till, attempt = self._attempt(pick, "ANSWERED", "UNKNOWN", "WRITTEN_OFF")
        bill = attempt.bill if attempt and attempt.bill else Bill(1, 1, 1, True)
        if bill.is_free and attempt and attempt.state in ("UNKNOWN", "WRITTEN_OFF"):
            return
        model = attempt.model if attempt else MINI

        async def call() -> int | None:
            async with till.database.transaction(till.organization_id) as connection:
                return nano(
                    await connection.fetchval(
                        "SELECT record_usage_and_increment($1, $2, $3, $4, $5, $6)",
                        attempt_id,
                        till.organization_id,
                        model,
                        bill.prompt_tokens,
                        bill.completion_tokens,
                        None if bill.figure is None else dollars(bill.figure),
                    )
                )

        self._play(how_often, call, lambda: self.ledger.record_usage(attempt_id))

    @precondition(has("UNKNOWN"))
    @rule(pick=st.integers(0, 999), how_often=st.sampled_from(HOW_OFTEN))
    def is_written_off(self, pick: int, how_often: str) -> None:
        attempt_id, till, _ = self._attempt(pick, "UNKNOWN")

        async def call() -> int | None:
            return nano((await till.using(self.bench.operator).write_off(attempt_id)).cost_usd)

        self._play(how_often, call, lambda: self.ledger.write_off(attempt_id))

    @precondition(has("ANSWERED", "SETTLED"))
    @rule(pick=st.integers(0, 999), is_meant=st.integers(0, 3), how_often=st.sampled_from(HOW_OFTEN))
    def is_rejected(self, pick: int, is_meant: int, how_often: str) -> None:
        if is_meant:
            return
        attempt_id, till, _ = self._attempt(pick, "ANSWERED", "SETTLED")
        self._play(how_often, lambda: till.reject(attempt_id), lambda: self.ledger.reject(attempt_id))

    @precondition(lambda self: any(one.is_due and one.state == "RESERVED" for one in self.ledger.attempts.values()))
    @rule(which=st.integers(0, 99))
    def expires(self, which: int) -> None:
        workflow = self._workflow(which)
        till = self.tills[workflow.workflow_id]
        self._play("once", till.expire, lambda: self.ledger.expire(workflow.organization))

    @rule(which=st.integers(0, 99), cap=st.sampled_from((*CAPS, 30_000_000)), how_often=st.sampled_from(HOW_OFTEN))
    def cap_is_raised(self, which: int, cap: int, how_often: str) -> None:
        workflow = self._workflow(which)
        till, decision_id = self.tills[workflow.workflow_id], uuid4()

        async def call() -> int | None:
            async with till.database.transaction(till.organization_id) as connection:
                return nano(
                    await raise_cap(
                        connection,
                        workflow.workflow_id,
                        till.organization_id,
                        dollars(cap),
                        decision_id=decision_id,
                        actor="a person",
                    )
                )

        self._play(how_often, call, lambda: self.ledger.raise_cap(workflow, cap, decision_id))

    @rule(which=st.integers(0, 1), cap=st.sampled_from((*MONTH_CAPS, 9_000_000, 40_000_000, 40_000_000, 40_000_000)))
    def plan_changes(self, which: int, cap: int | None) -> None:
        self.organizations[which].month_cap = cap
        self.bench.run(self._plan(self.organizations[which]))

    @rule(which=st.integers(0, 99))
    def is_thawed(self, which: int) -> None:
        workflow = self._workflow(which)
        self.ledger.thaw(workflow)
        self.bench.run(self._thaw(workflow))

    async def _thaw(self, workflow: Workflow) -> None:
        await self.bench.admin.execute(
            "UPDATE intent_workflows SET frozen_reason = NULL WHERE id = $1", workflow.workflow_id
        )
        await self.bench.admin.execute(
            "UPDATE organization_months SET frozen_reason = NULL WHERE organization_id = $1",
            workflow.organization.organization_id,
        )

    @precondition(lambda self: any(one.state in ("ICP_PROCESSING", "ICP_FAILED") for one in self.ledger.workflows))
    @rule(which=st.integers(0, 99), is_retried=st.booleans(), asks_again=st.integers(0, 99))
    def step_fails_and_is_retried(self, which: int, is_retried: bool, asks_again: int) -> None:
        workflow = self._workflow(which)
        if workflow.state == "ICP_PROCESSING":
            self._move(workflow, State.ICP_FAILED)
        if workflow.state == "ICP_FAILED" and is_retried:
            self._move(workflow, State.ICP_PROCESSING)
            self._ask_an_old_question(workflow, asks_again)

    def _ask_an_old_question(self, workflow: Workflow, pick: int) -> None:
        """L18: under the new claim a paid answer that nobody rejected is handed out again."""
        mine = [one for one in self.ledger.attempts.values() if one.workflow is workflow and one.was_sent]
        if mine:
            old = mine[pick % len(mine)]
            till = self.tills[workflow.workflow_id]
            attempt, ask = self._asked(till, workflow.claims[-1], old.slot, 1, old.slot_hash, MINI, 200)
            wanted = self.ledger.authorize(workflow, [ask], is_due=False)
            assert self.bench.run(self._answer(lambda: self._authorized(till, [attempt], 900))) == wanted

    @rule(which=st.integers(0, 99), is_meant=st.integers(0, 15))
    def is_cancelled(self, which: int, is_meant: int) -> None:
        workflow = self._workflow(which)
        if is_meant == 0 and workflow.state != "CANCELLED":
            self._move(workflow, State.CANCELLED)

    def _move(self, workflow: Workflow, following: State) -> None:
        till = self.tills[workflow.workflow_id]
        self.bench.run(self._advance(till.workflow, State(workflow.state), workflow.version, following))
        self.ledger.move(workflow, [str(following)])

    @rule(which=st.integers(0, 1), is_meant=st.integers(0, 1))
    def month_turns(self, which: int, is_meant: int) -> None:
        if is_meant == 0:
            organization = self.organizations[which]
            organization.months_on += 1
            self.bench.run(
                self.bench.admin.execute(
                    """
                    INSERT INTO model_clock VALUES ($1, $2)
                    ON CONFLICT (organization_id) DO UPDATE SET months = excluded.months
                    """,
                    organization.organization_id,
                    organization.months_on,
                )
            )

    @precondition(has(*OPEN))
    @rule(pick=st.integers(0, 999), call=st.integers(0, 7), as_itself=st.booleans())
    def is_meddled_with_by_the_other_organization(self, pick: int, call: int, as_itself: bool) -> None:
        attempt_id, till, attempt = self._attempt(pick, *OPEN)
        if attempt is None:
            return
        stranger = next(one for one in self.tills.values() if one.organization_id != till.organization_id)
        there = till if as_itself else stranger
        calls: list[tuple[str, Callable[[Any], Coroutine[Any, Any, Any]]]] = [
            (BAD, lambda c: spend.dispatch(c, there.workflow.workflow_id, there.organization_id, attempt_id)),
            (BAD, lambda c: spend.store_answer(c, there.organization_id, attempt_id, self._told(attempt))),
            (BAD, lambda c: spend.store_not_billed(c, there.organization_id, attempt_id, NOT_BILLED)),
            (BAD, lambda c: spend.store_unknown(c, there.organization_id, attempt_id, UnknownOutcome(reason="?"))),
            (BAD, lambda c: spend.settle(c, there.organization_id, [attempt_id])),
            (BAD, lambda c: spend.reject(c, there.organization_id, attempt_id, "no")),
            (BAD, lambda c: spend.record_generation_id(c, there.organization_id, attempt_id, "mine")),
            (BAD, lambda c: self._authorize_for_another(c, till)),
        ]
        wanted, work = calls[call]

        async def meddle() -> Any:
            async with self.bench.app.transaction(stranger.organization_id) as connection:
                return await work(connection)

        assert self.bench.run(self._answer(meddle)) == wanted

    async def _authorize_for_another(self, connection: Any, till: Till) -> Any:
        return await spend.authorize(
            connection,
            till.workflow.workflow_id,
            till.organization_id,
            [an_ask(till.workflow, 77)],
            expires_after_seconds=60,
            call_deadline_seconds=60,
        )

    @rule(
        which=st.integers(0, 99), until=st.sampled_from(STAGES), bill=st.sampled_from(BILLS), share=st.integers(0, 1000)
    )
    def pays_for_a_whole_call(self, which: int, until: str, bill: str, share: int) -> None:
        """What a run does most of the time, up to a moment: so that games get somewhere."""
        workflow = self._workflow(which)
        till = self.tills[workflow.workflow_id]
        ask = 1 + sum(one.workflow is workflow and one.slot == "whole" for one in self.ledger.attempts.values())
        attempt, in_model = self._asked(till, workflow.claims[-1], "whole", ask, f"question {ask % 3}", MINI, 200)
        answer = self.ledger.authorize(workflow, [in_model], is_due=False)
        found = self.bench.run(self._answer(lambda: self._authorized(till, [attempt], 900)))
        assert found == answer
        if answer != LOST and answer[0][0] == "AUTHORIZED" and until != "authorized":
            self._go_on(till, attempt.attempt_id, until, bill, share)

    def _go_on(self, till: Till, id_: UUID, until: str, bill: str, share: int) -> None:
        charged = self._bill(self.ledger.attempts[id_], bill, share)
        assert self.bench.run(till.dispatch(id_))[0] is self.ledger.dispatch(id_, charged)
        if until in ("answered", "settled") and not charged.is_free:
            assert self.ledger.store_answer(id_) == "ANSWERED"
            self.bench.run(till.store(id_, self._told(self.ledger.attempts[id_])))
            if until == "settled":
                assert self.ledger.settle([id_]) != CONFLICT
                self.bench.run(till.settle(id_))
        if until in ("unknown", "written off"):
            self.ledger.store_unknown(id_, has_body=share % 2 == 0)
            self.bench.run(till.store(id_, UnknownOutcome(reason="cut", body="{}" if share % 2 == 0 else None)))
            if until == "written off":
                self.ledger.write_off(id_)
                self.bench.run(till.using(self.bench.operator).write_off(id_))

    # What holds after every step --------------------------------------------------------------------------------

    @invariant()
    def the_rows_say_what_the_model_says(self) -> None:
        if self.organizations:
            rows = self.bench.run(self._rows())
            self._attempts_agree(rows["attempts"])
            self._workflows_agree(rows["workflows"])
            self._months_agree(rows["months"])
            self._rows_are_sound(rows)
            self._ledger_is_the_bill(rows["attempts"])

    async def _rows(self) -> dict[str, list[Any]]:
        ids = [organization.organization_id for organization in self.organizations]
        statements = {
            "attempts": """
                SELECT attempt_id, state, hold_usd, overrun_usd, workflow_id, organization_id, month, rejected_reason,
                    (SELECT coalesce(sum(cost), 0) FROM ai_usage_ledger AS l
                     WHERE l.attempt_id = a.attempt_id) AS booked,
                    (SELECT count(*) FROM ai_usage_ledger AS l
                     WHERE l.attempt_id = a.attempt_id AND l.month = a.month AND entry <> 'correction') AS bookings,
                    (SELECT count(*) FROM ai_usage_ledger AS l
                     WHERE l.attempt_id = a.attempt_id AND l.month = a.month AND entry = 'correction') AS corrections
                FROM spend_attempts AS a WHERE organization_id = ANY ($1)""",
            "workflows": """
                SELECT id, organization_id, state, version, cap_usd, spent_usd, held_usd, overrun_usd,
                    authorized_cap_usd AS bound, frozen_reason IS NOT NULL AS is_frozen
                FROM intent_workflows WHERE organization_id = ANY ($1)""",
            "months": """
                SELECT organization_id, month, spent_usd, held_usd, overrun_usd, cap_usd AS bound,
                    frozen_reason IS NOT NULL AS is_frozen
                FROM organization_months WHERE organization_id = ANY ($1)""",
        }
        async with self.bench.admin.transaction(isolation="repeatable_read", readonly=True):
            return {name: list(await self.bench.admin.fetch(sql, ids)) for name, sql in statements.items()}

    def _attempts_agree(self, rows: list[Any]) -> None:
        found = {
            row["attempt_id"]: (row["state"], nano(row["hold_usd"]), nano(row["overrun_usd"]), nano(row["booked"]),
                row["bookings"], row["corrections"], row["rejected_reason"] is not None)
            for row in rows
        }  # fmt: skip
        wanted = {
            one.attempt_id: (
                one.state,
                one.hold,
                one.overrun,
                one.booked,
                one.bookings,
                one.corrections,
                one.is_rejected,
            )
            for one in self.ledger.attempts.values()
        }
        assert found == wanted

    def _scope(self, row: Any) -> Scope:
        figures = {name: nano(row[f"{name}_usd"]) for name in ("spent", "held", "overrun")}
        return Scope(**figures, bound=nano(row["bound"]), is_frozen=row["is_frozen"])  # type: ignore[arg-type]

    def _workflows_agree(self, rows: list[Any]) -> None:
        found = {row["id"]: (row["state"], row["version"], nano(row["cap_usd"]), self._scope(row)) for row in rows}
        wanted = {one.workflow_id: (one.state, one.version, one.cap, one.scope) for one in self.ledger.workflows}
        assert found == wanted

    def _months_agree(self, rows: list[Any]) -> None:
        found = {(row["organization_id"], self._months_on(row["month"])): self._scope(row) for row in rows}
        wanted = {
            (one.organization_id, number): month for one in self.organizations for number, month in one.months.items()
        }
        for key in found.keys() | wanted.keys():
            assert found.get(key, Scope()) == wanted.get(key, Scope()), key

    def _months_on(self, month: Any) -> int:
        first: Any = self.first_month
        return int((month.year - first.year) * 12 + month.month - first.month)

    def _rows_are_sound(self, rows: dict[str, list[Any]]) -> None:
        """L1, L8, L9, L10, judged by the rows alone."""
        for scope in rows["workflows"]:
            self._scope_is_sound(scope, [one for one in rows["attempts"] if one["workflow_id"] == scope["id"]])
        for scope in rows["months"]:
            key = (scope["organization_id"], scope["month"])
            self._scope_is_sound(
                scope, [one for one in rows["attempts"] if (one["organization_id"], one["month"]) == key]
            )

    def _scope_is_sound(self, scope: Any, attempts: list[Any]) -> None:
        assert scope["spent_usd"] + scope["held_usd"] <= (scope["bound"] or 0) + scope["overrun_usd"]
        assert scope["held_usd"] == sum(one["hold_usd"] for one in attempts if one["state"] in OPEN) >= 0
        assert scope["spent_usd"] == sum(one["booked"] for one in attempts)
        assert all(one["bookings"] <= 1 and one["corrections"] <= 1 for one in attempts)

    def _ledger_is_the_bill(self, rows: list[Any]) -> None:
        """L7: whatever the provider charged is booked to the nano-dollar, or its hold is still held for it."""
        for row in rows:
            attempt = self.ledger.attempts[row["attempt_id"]]
            billed = attempt.bill.amount if attempt.bill else 0
            broke = bool(attempt.bill and attempt.bill.broke_its_bound)
            match row["state"]:
                case "SETTLED" | "NOT_BILLED" | "VOIDED" | "EXPIRED" | "REFUSED" | "RESERVED":
                    assert nano(row["booked"]) == billed
                case "UNKNOWN" | "DISPATCHED" | "ANSWERED":
                    assert broke or billed <= nano(row["hold_usd"])  # type: ignore[operator]
                case "WRITTEN_OFF":
                    assert broke or billed <= nano(row["booked"])  # type: ignore[operator]

    def teardown(self) -> None:
        if self.organizations:
            for statement in (IMBALANCES, MISBOOKED):
                assert self.bench.run(self.bench.admin.fetch(statement)) == []


@pytest.mark.timeout(0 if IS_LONG else 300)
def test_L1_L7_L8_L9_L10_L22_the_ledger_is_its_model(database: TenantDatabase) -> None:
    run_machine(database, LedgerMachine, bounded(examples=45, steps=50))
