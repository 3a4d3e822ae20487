"""IntentWorkflow: from a brief to published articles. ``run`` reads as the list of steps.

The row in Postgres is the truth of where the workflow stands. A run loads it first and goes on from there, so a new
run, a reset or a restart after termination does nothing twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from temporalio import workflow
from temporalio.common import SearchAttributeKey, WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError

from workflows.article import ArticleInput, ArticleWorkflow, article_workflow_id
from workflows.embeddings import buy_embeddings
from workflows.failures import (
    StepFailedError,
    all_of,
    failure_of,
    is_cancellation,
    is_cancelled,
    is_lost,
    root_cause,
    stop_if_cancelled,
)
from workflows.keyword_data import add_keyword_data
from workflows.paid_calls import Answered, CallContext, SlotEnd, ask_one
from workflows.policies import ActivitiesT, RequestT, ResultT, in_database, on_the_web, told_outside
from workflows.status_card import CONFLICTS_NOTE, next_command, status_card

with workflow.unsafe.imports_passed_through():
    from activities.article import ArticleActivities, ArticlesPlan, ArticleTask
    from activities.clustering import ClusteringActivities, KeywordEmbeddingActivities
    from activities.competitor import AnalyzeCompetitors, CompetitorActivities, JudgeDiscovery, SeedExtractionActivities
    from activities.icp import GenerateIcp, IcpActivities
    from activities.publish import ApprovalActivities, Approve, PublishActivities, PublishArticle
    from activities.reminders import Remind, ReminderActivities, WebhookActivities
    from activities.seed_review import ApplySeedReview, SeedReviewActivities
    from activities.sites import ReadSite, SiteActivities, SiteReadResult
    from activities.state import (
        BeginStep,
        CancelWorkflow,
        DecideRaiseCap,
        DecideRedo,
        DecideReopen,
        DecideRetry,
        FailStep,
        OpenGate,
        StateActivities,
    )
    from activities.validation import OVERRIDE_GOES_TO, DecideOverride, ValidationActivities
    from domain.decisions import (
        ApproveArticles,
        Decision,
        OverrideClusters,
        RaiseCap,
        RedoArticle,
        ReopenReview,
        Retry,
        ReviewSeeds,
    )
    from domain.errors import BadInputError, WorkflowTransitionError
    from domain.money import Frozen
    from domain.progress import CallKind, ClaimRef, Failure, Judged, Progress, Slot, WorkflowRef
    from domain.reminders import Reminder, WaitsFor, next_reminder_at, reminder_id_of, waits_for
    from domain.seed_review import SeedDecision, SeedDecisionKind
    from domain.settings import ActivityTimeouts, Embeddings
    from domain.states import State, Status, Step, is_terminal, processing_state, status_of, step_of

WORKFLOW_NAME = "IntentWorkflow"
CONFLICTS_MAX = 3
CHILD_ENDS_SECONDS = 2.0
TIMER_SECONDS_MIN = 0.001

INTENT_STATE = SearchAttributeKey.for_keyword("IntentState")
ORGANIZATION_ID = SearchAttributeKey.for_keyword("OrganizationId")
INTENT_WORKFLOW_ID = SearchAttributeKey.for_keyword("IntentWorkflowId")
FAILED_STEP = SearchAttributeKey.for_keyword("FailedStep")
COST_USD = SearchAttributeKey.for_float("CostUsd")
ARTICLES_DONE = SearchAttributeKey.for_int("ArticlesDone")
ARTICLES_TOTAL = SearchAttributeKey.for_int("ArticlesTotal")
SEARCH_ATTRIBUTES = {
    INTENT_STATE.name: "Keyword",
    ORGANIZATION_ID.name: "Keyword",
    INTENT_WORKFLOW_ID.name: "Keyword",
    FAILED_STEP.name: "Keyword",
    COST_USD.name: "Double",
    ARTICLES_DONE.name: "Int",
    ARTICLES_TOTAL.name: "Int",
}


class IntentInput(Frozen):
    """``queue`` is the workflows' task queue; paid calls and the web have queues of their own beside it."""

    ref: WorkflowRef
    queue: str
    own_url: str
    organization_name: str
    timeouts: ActivityTimeouts = ActivityTimeouts()


@workflow.defn(name=WORKFLOW_NAME)
class IntentWorkflow:
    @workflow.init
    def __init__(self, start: IntentInput) -> None:
        self._start = start
        self._loaded: Progress | None = None
        self._deciding = asyncio.Lock()
        self._conflicts = 0
        self._parked = ""
        self._note = ""

    @workflow.run
    async def run(self, start: IntentInput) -> Progress:
        try:
            await self._take(self._state(StateActivities.load_progress, start.ref, "where does it stand?"))
            while not is_terminal(self._progress.state):
                stop_if_cancelled()
                await self._go_on()
        except (asyncio.CancelledError, ActivityError, ChildWorkflowError) as error:
            if not is_cancellation(error):
                raise
            await self._cancel()
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._progress.state is State.CANCELLED:
            await self._be_cancelled()
            raise asyncio.CancelledError
        return self._progress

    async def _go_on(self) -> None:
        """One step further, or wait for a person; where somebody else moved the row, look again."""
        if status_of(self._progress.state) is Status.FAILED or self._parked:
            await self._wait_for_a_person()
            return
        try:
            await self._take_step()
        except (ActivityError, ChildWorkflowError) as error:
            if is_cancelled():
                raise
            if is_lost(error):
                await self._load_again()
            else:
                await self._park(f"{failure_of(error).message}; mend it, then retry")

    async def _take_step(self) -> None:
        """The seven steps."""
        match step_of(self._progress.state):
            case Step.ICP:
                await self._work(Step.ICP, self._icp)
            case Step.COMPETITOR:
                await self._work(Step.COMPETITOR, self._competitors)
            case Step.SEED_REVIEW:
                await self._seed_review()
            case Step.CLUSTERING:
                await self._work(Step.CLUSTERING, self._clustering)
            case Step.VALIDATION:
                await self._work(Step.VALIDATION, self._validation)
            case Step.ARTICLE:
                await self._work(Step.ARTICLE, self._articles)
            case Step.PUBLISH:
                await self._publish()

    # The steps --------------------------------------------------------------------------------------------------

    async def _icp(self, claim: ClaimRef) -> Progress:
        await self._read_site(claim, self._start.own_url, is_own_site=True)

        async def judge(answers: Sequence[Answered]) -> Sequence[Judged]:
            (answer,) = answers
            request = GenerateIcp(claim=claim, attempt_id=answer.attempt_id, repairs_left=answer.repairs_left)
            return [await self._state(IcpActivities.generate_icp, request, "ICP: judge the answer")]

        route = self._progress.settings.icp.route
        end = await ask_one(self._calls(claim, "ICP"), Slot(kind=CallKind.ICP), route, judge)
        return _progress_of(end)

    async def _competitors(self, claim: ClaimRef) -> Progress:
        named = await self._state(CompetitorActivities.competitor_sites, claim.workflow, "competitors of the brief")
        urls = named or await self._discover(claim)
        again = self._progress.review_feedback is not None
        await all_of(self._read_site(claim, url, is_own_site=False, again=again) for url in urls)
        stop_if_cancelled()
        await self._web(SeedExtractionActivities.extract_seed_keywords, claim, "competitors: extract keywords")
        if self._progress.settings.competitor.keyword_data.is_enabled:
            await add_keyword_data(self._calls(claim, "competitors: keyword data"))

        async def judge(answers: Sequence[Answered]) -> Sequence[Judged]:
            (answer,) = answers
            request = AnalyzeCompetitors(
                claim=claim, label_attempt_id=answer.attempt_id, repairs_left=answer.repairs_left
            )
            return [await self._state(CompetitorActivities.analyze_competitors, request, "competitors: analyze")]

        route = self._progress.settings.competitor.route
        slot = Slot(kind=CallKind.COMPETITOR_LABELS)
        end = await ask_one(self._calls(claim, "competitors: labels"), slot, route, judge)
        if end.judged is not None and end.judged.progress is not None:
            return end.judged.progress
        # Labels are an addition: without them word rules name the intents, and the step still stands.
        without = AnalyzeCompetitors(claim=claim, label_attempt_id=None)
        summary = "competitors: analyze without labels"
        return _progress_in(await self._state(CompetitorActivities.analyze_competitors, without, summary))

    async def _discover(self, claim: ClaimRef) -> list[str]:
        async def judge(answers: Sequence[Answered]) -> Sequence[Judged]:
            (answer,) = answers
            request = JudgeDiscovery(claim=claim, attempt_id=answer.attempt_id, repairs_left=answer.repairs_left)
            return [await self._state(CompetitorActivities.judge_discovery, request, "competitors: judge the finds")]

        route = self._progress.settings.competitor.route
        slot = Slot(kind=CallKind.COMPETITOR_DISCOVERY)
        end = await ask_one(self._calls(claim, "competitors: find them"), slot, route, judge)
        if end.failure is not None:
            raise StepFailedError(end.failure)
        return list(end.judged.facts["urls"]) if end.judged else []

    async def _seed_review(self) -> None:
        """Waits for a person, unless whoever started the workflow approved beforehand."""
        if self._progress.state is not State.SEED_REVIEW_PENDING:
            await self._take(self._open_gate(Step.SEED_REVIEW))
        elif self._progress.settings.auto_approve_seeds and self._progress.last_reason != "reopened":
            await self._decide_automatically(self._review(self._automatic_review()))
        else:
            await self._wait_for_a_person()

    async def _clustering(self, claim: ClaimRef) -> Progress:
        if self._progress.settings.clustering.embeddings is Embeddings.LOCAL:
            await self._web(KeywordEmbeddingActivities.embed_keywords, claim, "embed the keywords")
            stop_if_cancelled()
        elif self._progress.settings.clustering.embeddings is Embeddings.PROVIDER:
            await buy_embeddings(self._calls(claim, "clustering: embeddings"))
        return _progress_in(await self._state(ClusteringActivities.cluster_keywords, claim, "cluster the keywords"))

    async def _validation(self, claim: ClaimRef) -> Progress:
        return _progress_in(await self._state(ValidationActivities.validate_clusters, claim, "validate the clusters"))

    async def _articles(self, claim: ClaimRef) -> Progress:
        """Waves within bound and cap, until nothing more can be begun."""
        written: dict[UUID, int] = {}
        while not self._accepts_partial():
            plan = await self._state(ArticleActivities.plan_articles, claim, "plan the next articles")
            if not plan.to_write or any(written.get(task.article_id, 0) > 1 for task in plan.to_write):
                break
            for task in plan.to_write:
                written[task.article_id] = written.get(task.article_id, 0) + 1
            await all_of(self._write(claim, plan, task) for task in plan.to_write)
            stop_if_cancelled()
            await self._show(
                await self._state(StateActivities.load_progress, claim.workflow, "how far are the articles?")
            )
        return _progress_in(await self._state(ArticleActivities.complete_articles, claim, "all articles accounted for"))

    async def _publish(self) -> None:
        match self._progress.state:
            case State.ARTICLE_COMPLETED:
                await self._take(self._open_gate(Step.PUBLISH))
            case State.PUBLISH_PENDING if self._progress.auto_publish:
                summary = "approve automatically, as the brief says"
                approving = self._state(ApprovalActivities.approve_automatically, self._start.ref, summary)
                await self._decide_automatically(approving)
            case State.PUBLISH_PENDING:
                await self._wait_for_a_person()
            case _:
                await self._work(Step.PUBLISH, self._publish_articles)

    async def _publish_articles(self, claim: ClaimRef) -> Progress:
        todo = await self._state(ApprovalActivities.articles_to_publish, claim, "what is approved and not out yet")
        for number, article_id in enumerate(todo, start=1):
            stop_if_cancelled()
            publish = PublishArticle(claim=claim, article_id=article_id)
            await self._web(PublishActivities.publish_article, publish, f"publish article {number} of {len(todo)}")
        await self._web(PublishActivities.finish_site, claim, "index, sitemap, manifest")
        stop_if_cancelled()
        return _progress_in(await self._state(ApprovalActivities.publish_articles, claim, "everything is out"))

    # What the steps share ---------------------------------------------------------------------------------------

    async def _work(self, step: Step, work: Callable[[ClaimRef], Awaitable[Progress]]) -> None:
        """Begin, do, take what came of it. A lost claim loads the row again; another failure parks in X_FAILED."""
        try:
            if self._progress.state is not processing_state(step):
                begin = BeginStep(ref=self._start.ref, step=step)
                await self._take(self._state(StateActivities.begin_step, begin, f"begin {step}"))
            claim = self._progress.claim_of(step)
            await self._take(work(claim))
            self._conflicts = 0
        except StepFailedError as error:
            await self._fail(claim, error.failure)
        except (ActivityError, ChildWorkflowError) as error:
            if is_cancelled() or is_lost(error):
                raise
            await self._fail(self._progress.claim_of(step), failure_of(error))

    async def _fail(self, claim: ClaimRef, failure: Failure) -> None:
        stop_if_cancelled()
        fail = FailStep(claim=claim, failure=failure)
        await self._take(self._state(StateActivities.fail_step, fail, f"{claim.step} failed"))

    async def _decide_automatically(self, deciding: Awaitable[Progress]) -> None:
        """What was approved beforehand; where that can't be done (too few keywords, …) a person has to look."""
        try:
            await self._take(deciding)
        except ActivityError as error:
            if is_cancelled() or is_lost(error):
                raise
            self._note = f"not decided automatically: {failure_of(error).message}"
            await self._show(self._progress)
            await self._wait_for_a_person()
            self._note = ""

    async def _load_again(self) -> None:
        """Somebody else moved the row. Three times in a row: park, and let a person look."""
        self._conflicts += 1
        if self._conflicts >= CONFLICTS_MAX:
            self._parked = CONFLICTS_NOTE
        await self._look_again()

    async def _park(self, why: str) -> None:
        """Not even the failure of the step could be noted: nothing more is done before somebody looked."""
        self._parked = why
        await self._show(self._progress)

    async def _look_again(self) -> None:
        await self._take(self._state(StateActivities.load_progress, self._start.ref, "the row moved on: load it again"))

    async def _write(self, claim: ClaimRef, plan: ArticlesPlan, task: ArticleTask) -> None:
        label = f"article {task.position + 1} of {plan.total}: {task.keyword}"
        child = ArticleInput(
            claim=claim,
            article_id=task.article_id,
            revision=task.revision,
            label=label,
            settings=self._progress.settings,
            queue=self._start.queue,
        )
        while not await self._has_written(claim, task, child):
            # An older child of a run that was terminated still works under this claim: its parts are ours too.
            await workflow.sleep(timedelta(seconds=CHILD_ENDS_SECONDS), summary="an older child has to end first")
            await self._look_again()
            if self._progress.version != claim.claim:
                return

    async def _has_written(self, claim: ClaimRef, task: ArticleTask, child: ArticleInput) -> bool:
        """False while an older child of the same id is still open."""
        try:
            await workflow.execute_child_workflow(
                ArticleWorkflow.run,
                child,
                id=article_workflow_id(workflow.info().workflow_id, task.article_id, claim.claim),
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
                cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
                task_timeout=timedelta(seconds=self._timeouts.workflow_task_seconds),
                static_summary=child.label,
            )
        except WorkflowAlreadyStartedError:
            return False
        except ChildWorkflowError as error:
            if is_cancelled() or is_lost(error):
                raise
            workflow.logger.warning("article child ended: %s", root_cause(error))
        return True

    async def _read_site(self, claim: ClaimRef, url: str, *, is_own_site: bool, again: bool = False) -> SiteReadResult:
        settings = self._progress.settings.competitor
        request = ReadSite(
            claim=claim,
            url=url,
            is_own_site=is_own_site,
            pages_max=settings.pages_per_site_max * (2 if again else 1),
            fetch_again=again,
        )
        return await self._web(SiteActivities.read_site, request, f"read {url}")

    def _calls(self, claim: ClaimRef, summary: str) -> CallContext:
        return CallContext(claim, self._progress.settings, self._start.queue, summary)

    def _accepts_partial(self) -> bool:
        return self._progress.last_reason == "accept_partial"

    async def _open_gate(self, step: Step) -> Progress:
        gate = OpenGate(ref=self._start.ref, step=step)
        return await self._state(StateActivities.open_gate, gate, f"{step} waits for a person")

    def _automatic_review(self) -> ReviewSeeds:
        progress = self._progress
        return ReviewSeeds(
            decision_id=uuid5(progress.workflow_id, f"auto-approve:{progress.version}"),
            actor=f"auto-approve, started by {progress.started_by}",
            expected_state=State.SEED_REVIEW_PENDING,
            expected_version=progress.version,
            seeds=SeedDecision(kind=SeedDecisionKind.APPROVE_ALL),
        )

    async def _review(self, decision: ReviewSeeds) -> Progress:
        request = ApplySeedReview(ref=self._start.ref, decision=decision)
        return await self._state(SeedReviewActivities.apply_seed_review, request, f"review by {decision.actor}")

    # The row as this run knows it -------------------------------------------------------------------------------

    @property
    def _progress(self) -> Progress:
        if self._loaded is None:
            raise ApplicationError("progress is not loaded yet", type="NotLoaded")
        return self._loaded

    @property
    def _timeouts(self) -> ActivityTimeouts:
        return self._start.timeouts

    async def _state(
        self, method: Callable[[ActivitiesT, RequestT], Awaitable[ResultT]], request: RequestT, summary: str
    ) -> ResultT:
        return await in_database(method, request, self._timeouts, summary)

    async def _web(
        self, method: Callable[[ActivitiesT, RequestT], Awaitable[ResultT]], request: RequestT, summary: str
    ) -> ResultT:
        return await on_the_web(method, request, self._timeouts, summary, queue=self._start.queue)

    async def _take(self, coming: Awaitable[Progress]) -> None:
        """Remember where the row stands and show it. An older answer that arrives late is not taken."""
        await self._show(await coming)

    async def _show(self, progress: Progress) -> None:
        if self._loaded is not None and progress.version < self._loaded.version:
            return
        self._loaded = progress
        workflow.set_current_details(status_card(progress, self._note, parked=self._parked))
        failed = step_of(progress.state) if status_of(progress.state) is Status.FAILED else None
        workflow.upsert_search_attributes(
            [
                INTENT_STATE.value_set(progress.state),
                COST_USD.value_set(float(progress.spent_usd)),
                ARTICLES_DONE.value_set(progress.articles.done),
                ARTICLES_TOTAL.value_set(progress.articles.planned),
                FAILED_STEP.value_set(failed) if failed else FAILED_STEP.value_unset(),
            ]
        )

    async def _wait_for_a_person(self) -> None:
        """Until somebody decides. One timer at a time reminds; the decision cancels it."""
        version = self._progress.version

        def is_over() -> bool:
            return self._progress.version != version or not self._waits()

        while not is_over():
            due_at = self._next_reminder_at()
            seconds = None if due_at is None else max((due_at - workflow.now()).total_seconds(), TIMER_SECONDS_MIN)
            try:
                await workflow.wait_condition(is_over, timeout=seconds, timeout_summary="then remind")
            except TimeoutError:
                await self._remind(is_over)

    def _next_reminder_at(self) -> datetime | None:
        waiting = self._progress.waiting
        return None if waiting is None else next_reminder_at(waiting, self._progress.settings.reminders)

    async def _remind(self, is_over: Callable[[], bool]) -> None:
        """Recorded for sure; told to a webhook if that can be done soon. A decision in the meantime doesn't wait."""
        before = self._progress
        number = (before.waiting.reminders if before.waiting else 0) + 1
        remind = Remind(ref=before.ref, version=before.version, number=number, waiting_for=self._waits_for(before))
        await self._take(self._state(ReminderActivities.remind, remind, f"reminder {number}"))
        reminder = self._reminder()
        if is_over() or reminder is None:
            return
        telling = asyncio.create_task(self._tell(reminder))
        try:
            await workflow.wait_condition(lambda: telling.done() or is_over())
        finally:
            telling.cancel()

    async def _tell(self, reminder: Reminder) -> None:
        try:
            summary = f"tell of reminder {reminder.number}"
            await told_outside(WebhookActivities.post_reminder, reminder, summary, queue=self._start.queue)
        except ActivityError as error:
            workflow.logger.warning("reminder not told: %s", root_cause(error))

    def _waits_for(self, progress: Progress) -> WaitsFor | None:
        publishes = progress.auto_publish and not self._note
        return waits_for(progress.state, publishes=publishes, is_a_verdict=progress.is_judged)

    def _reminder(self) -> Reminder | None:
        progress = self._progress
        waiting = progress.waiting
        if waiting is None or waiting.reminded_at is None:
            return None
        return Reminder(
            reminder_id=reminder_id_of(progress.workflow_id, progress.version, waiting.reminders),
            workflow_id=progress.workflow_id,
            organization_id=progress.organization_id,
            organization=progress.organization_name,
            name=progress.name,
            state=progress.state,
            waiting_for=self._waits_for(progress),
            waiting_since=waiting.since,
            reminded_at=waiting.reminded_at,
            number=waiting.reminders,
            reminders_max=progress.settings.reminders.reminders_max,
            next_command=next_command(progress),
        )

    def _waits(self) -> bool:
        waiting = (Status.FAILED, Status.WAITING)
        return bool(self._parked) or status_of(self._progress.state) in waiting

    async def _cancel(self) -> None:
        """Nothing new is asked; what is in flight has been awaited and booked; the row is closed."""
        reason = workflow.cancellation_reason() or "cancelled"
        cancel = CancelWorkflow(ref=self._start.ref, reason=reason)
        self._loaded = None
        await self._take(self._state(StateActivities.cancel_workflow, cancel, "close the row"))

    async def _be_cancelled(self) -> None:
        """A run shows as cancelled only when it was asked to be; where the row was cancelled without it, it asks."""
        if not is_cancelled():
            await self._state(StateActivities.cancel_own_run, self._start.ref, "the row is cancelled: so is its run")
            await workflow.wait_condition(is_cancelled)

    # People -----------------------------------------------------------------------------------------------------

    @workflow.update(name="review_seeds", description="Approve, select or reject the seed keywords")
    async def review_seeds(self, decision: ReviewSeeds) -> Progress:
        return await self._decide(lambda: self._review(decision))

    @workflow.update(name="reopen_review", description="Back to the seeds after a failed clustering or validation")
    async def reopen_review(self, decision: ReopenReview) -> Progress:
        request = DecideReopen(ref=self._start.ref, decision=decision)
        summary = f"review reopened by {decision.actor}"
        return await self._decide(lambda: self._state(StateActivities.reopen_review, request, summary))

    @workflow.update(name="retry", description="Run a failed step again; accepted answers are reused")
    async def retry(self, decision: Retry) -> Progress:
        if self._parked:
            self._parked, self._conflicts = "", 0
            await self._look_again()
            if status_of(decision.expected_state) is not Status.FAILED:
                return self._progress
        request = DecideRetry(ref=self._start.ref, decision=decision)
        summary = f"retry by {decision.actor}"
        return await self._decide(lambda: self._state(StateActivities.retry_step, request, summary))

    @workflow.update(name="raise_cap", description="Allow this workflow to spend more")
    async def raise_cap(self, decision: RaiseCap) -> Progress:
        request = DecideRaiseCap(ref=self._start.ref, decision=decision)
        summary = f"cap raised by {decision.actor}"
        return await self._decide(lambda: self._state(StateActivities.raise_cap, request, summary))

    @workflow.update(name="approve_articles", description="Approve articles by their exact content, to be published")
    async def approve_articles(self, decision: ApproveArticles) -> Progress:
        request = Approve(ref=self._start.ref, decision=decision)
        summary = f"approved by {decision.actor}"
        return await self._decide(lambda: self._state(ApprovalActivities.approve_articles, request, summary))

    @workflow.update(name="redo_article", description="Write one article anew before it is published")
    async def redo_article(self, decision: RedoArticle) -> Progress:
        request = DecideRedo(ref=self._start.ref, decision=decision)
        summary = f"redo asked for by {decision.actor}"
        return await self._decide(lambda: self._state(StateActivities.redo_article, request, summary))

    @workflow.update(name="override_clusters", description="Let fallen clusters go on, with a reason")
    async def override_clusters(self, decision: OverrideClusters) -> Progress:
        request = DecideOverride(ref=self._start.ref, decision=decision)
        summary = f"clusters overridden by {decision.actor}"
        return await self._decide(lambda: self._state(ValidationActivities.override_clusters, request, summary))

    @override_clusters.validator
    def _check_override(self, decision: OverrideClusters) -> None:
        self._check_shown(decision, OVERRIDE_GOES_TO.get(decision.expected_state, State.VALIDATION_PROCESSING))

    @review_seeds.validator
    def _check_review(self, decision: ReviewSeeds) -> None:
        self._check_shown(decision, State.SEED_REVIEW_COMPLETED)

    @reopen_review.validator
    def _check_reopening(self, decision: ReopenReview) -> None:
        self._check_shown(decision, State.SEED_REVIEW_PENDING)

    @retry.validator
    def _check_retry(self, decision: Retry) -> None:
        if not self._parked:
            self._check_shown(decision, decision.expected_state)

    @approve_articles.validator
    def _check_approval(self, decision: ApproveArticles) -> None:
        self._check_shown(decision, State.PUBLISH_PROCESSING)

    @redo_article.validator
    def _check_redo(self, decision: RedoArticle) -> None:
        self._check_shown(decision, State.ARTICLE_PENDING)

    def _check_shown(self, decision: Decision, attempted: State) -> None:
        """The optimistic lock, before anything is written: what the person saw is still so. Before the progress is
        loaded it lets through, and where the person saw more than this run; the database decides last in any case."""
        shown, now = (decision.expected_state, decision.expected_version), self._loaded
        if now is None or (now.state, now.version) == shown or decision.expected_version > now.version:
            return
        error = WorkflowTransitionError(
            workflow_id=now.workflow_id,
            reason="terminal" if is_terminal(now.state) else "conflict",
            current_state=now.state,
            expected_state=decision.expected_state,
            attempted_state=attempted,
            current_version=now.version,
            expected_version=decision.expected_version,
        )
        raise ApplicationError(str(error), error.facts(), type=type(error).__name__, non_retryable=True)

    async def _decide(self, act: Callable[[], Awaitable[Progress]]) -> Progress:
        """One decision at a time; the database answers a repeated one as it answered the first."""
        await workflow.wait_condition(lambda: self._loaded is not None)
        async with self._deciding:
            try:
                progress = await act()
            except ActivityError as error:
                if is_lost(error):
                    await self._look_again()
                cause = root_cause(error)
                if isinstance(cause, ApplicationError):
                    raise ApplicationError(
                        cause.message, *cause.details, type=cause.type, non_retryable=True
                    ) from error
                raise ApplicationError(str(cause), type=type(cause).__name__, non_retryable=True) from error
            self._parked, self._conflicts = "", 0  # the row moved by somebody who looked
            await self._show(progress)
            return progress


def _progress_in(judged: Judged) -> Progress:
    if judged.progress is None:
        raise ApplicationError("a step ended without saying where the row stands", type="NoProgress")
    return judged.progress


def _progress_of(end: SlotEnd) -> Progress:
    """Accepted or blocked by its judge, the row has moved; otherwise the step has failed."""
    if end.judged is not None and end.judged.progress is not None:
        return end.judged.progress
    failure = end.failure or failure_of(BadInputError("the step ended without an answer"))
    raise StepFailedError(failure)
