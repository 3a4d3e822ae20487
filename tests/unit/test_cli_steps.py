"""The table of steps from one look at a workflow."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from commands import keyword_history, publishing, reading, showing
from commands.exporting import KEYWORD_COLUMNS
from commands.failures import downgrade_lines, kept_words, next_command, spent_words, stop_lines
from commands.reviewing import keyword_object
from commands.session import Session
from commands.snapshot import Snapshot
from commands.steps import Mark, StepLine, detail_of, mark_of, seconds_by_step, step_lines
from commands.terminal import Terminal, counted, dollars, duration
from commands.watching import is_failed, lines_of, status_object
from config import Settings
from db.keywords import DecidedKeyword, KeywordRow, ReviewRecord
from db.outputs import StepOutput
from db.overview import ArticleOverview, StepCost
from db.transitions import TransitionRecord
from db.workflows import WorkflowRecord
from domain.brief import Brief, brief_from_mapping, normalized
from domain.export import csv_text
from domain.progress import ArticleCounts, Failure, Progress
from domain.publication_changes import ChangedArticle, ChangeKind
from domain.publishing import PublicationState
from domain.seed_review import KeywordDecision, SeedDecisionKind
from domain.settings import StepSettings
from domain.states import State, Step
from domain.verdict import Level, Reason, Verdict
from tests.conftest import legal_path

BEGAN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
WORKFLOW_ID, ORGANIZATION_ID = UUID(int=7), UUID(int=8)
DESCRIPTION = (
    "We sell accounts payable automation to mid-size distributors that drown in paper invoices every month end now."
)


def brief(**changes: Any) -> Brief:
    organization = {
        "name": "Harborline",
        "url": "https://harborline.example",
        "description": f"{DESCRIPTION} {DESCRIPTION}",
    }
    return brief_from_mapping({"organization": organization, "competitors": ["https://ledgerpilot.example"], **changes})


def audit_of(state: State, seconds_each: float = 1.0) -> tuple[TransitionRecord, ...]:
    rows, before = [], State.CREATED
    for seq, following in enumerate(legal_path(state), start=1):
        rows.append(
            TransitionRecord(
                transition_id=uuid4(),
                seq=seq,
                from_state=before,
                to_state=following,
                expected_version=seq - 1,
                actor="anna",
                reason=None,
                run_id=None,
                at=BEGAN + timedelta(seconds=seq * seconds_each),
            )
        )
        before = following
    return tuple(rows)


def snapshot(
    state: State,
    *,
    outputs: dict[Step, dict[str, Any]] | None = None,
    articles: tuple[ArticleOverview, ...] = (),
    failure: Failure | None = None,
    auto: bool = False,
) -> Snapshot:
    audit = audit_of(state)
    the_brief = brief(publish={"approval": "auto" if auto else "person"})
    settings = StepSettings(auto_approve_seeds=auto)
    record = WorkflowRecord(
        workflow_id=WORKFLOW_ID,
        organization_id=ORGANIZATION_ID,
        name="spring",
        brief=normalized(the_brief),
        brief_hash="",
        settings=settings.model_dump(mode="json"),
        started_by="anna",
        state=state,
        version=len(audit),
        failure=failure.model_dump(mode="json") if failure else None,
        cap_usd=Decimal("1.00"),
        spent_usd=Decimal("0.0481"),
        held_usd=Decimal(0),
        overrun_usd=Decimal(0),
        frozen_reason=None,
        created_at=BEGAN,
        updated_at=BEGAN,
    )
    progress = Progress(
        workflow_id=WORKFLOW_ID,
        organization_id=ORGANIZATION_ID,
        name="spring",
        organization_name="Harborline",
        state=state,
        version=record.version,
        cap_usd=record.cap_usd,
        spent_usd=record.spent_usd,
        held_usd=record.held_usd,
        failure=failure,
        articles=ArticleCounts(planned=len(articles)),
        settings=settings,
        auto_publish=auto,
    )
    stored = {
        step: StepOutput(step=step, claim=1, output=output, verdict=Verdict(level="pass"))
        for step, output in (outputs or {}).items()
    }
    return Snapshot(
        record=record,
        brief=the_brief,
        progress=progress,
        audit=audit,
        outputs=stored,
        keywords=(),
        articles=articles,
        costs={"icp": StepCost(step="icp", calls=2, cost_usd=Decimal("0.0065"))},
        now=BEGAN + timedelta(seconds=100),
    )


def article(
    number: int, *, passed: bool = True, state: str = "PASSED", reasons: tuple[Reason, ...] = ()
) -> ArticleOverview:
    return ArticleOverview(
        article_id=UUID(int=100 + number),
        position=number,
        keyword=f"keyword {number}",
        role="hub",
        state=state,
        slug=f"keyword-{number}",
        title=f"Title {number}" if passed else None,
        revision=1,
        accepted_revision=1 if passed else None,
        reasons=reasons,
        sections_planned=6,
        sections_written=6 if passed else 4,
        content_hash="abc" if passed else None,
        quality=None,
        publication_state="PUBLISHED" if passed else None,
        published_url=None,
        publication_reason=None,
    )


@pytest.mark.parametrize(
    ("state", "marks"),
    [
        (State.CREATED, "…      "),
        (State.ICP_COMPLETED, "✔…     "),
        (State.ICP_FAILED, "✘      "),
        (State.SEED_REVIEW_PENDING, "✔✔?    "),
        (State.CLUSTERING_FAILED, "✔✔✔✘   "),
        (State.ARTICLE_PROCESSING, "✔✔✔✔✔… "),
        (State.PUBLISH_PENDING, "✔✔✔✔✔✔?"),
        (State.COMPLETED, "✔✔✔✔✔✔✔"),
    ],
)
def test_the_marks_of_a_state(state: State, marks: str) -> None:
    looked = snapshot(state)
    assert "".join(mark_of(looked, step) for step in Step) == marks


def test_every_state_has_a_table_that_fits() -> None:
    for state in State:
        for width in (60, 80, 140):
            for line in step_lines(snapshot(state)):
                assert all(len(row) <= width for row in line.rows(width)), (state, width)


def test_a_gate_that_opens_by_itself_does_not_wait() -> None:
    for state in (State.SEED_REVIEW_PENDING, State.PUBLISH_PENDING):
        assert snapshot(state, auto=True).waits_for is None
        assert snapshot(state, auto=False).waits_for is not None
        assert mark_of(snapshot(state, auto=True), snapshot(state).step or Step.ICP) is Mark.WORKING


def test_a_cancelled_run_shows_where() -> None:
    looked = snapshot(State.CANCELLED)
    assert looked.step is Step.ICP
    assert mark_of(looked, Step.ICP) is Mark.CANCELLED
    assert is_failed(looked)


def test_the_times_of_the_steps_add_up_to_the_whole() -> None:
    looked = snapshot(State.ARTICLE_PROCESSING)
    seconds = seconds_by_step(looked)
    assert sum(seconds.values()) == pytest.approx(100)
    # CREATED, ICP_PENDING, ICP_PROCESSING, a second each; what follows its end belongs to the next step.
    assert seconds[Step.ICP] == pytest.approx(3)
    assert Step.PUBLISH not in seconds


def test_time_parked_in_a_failure_is_not_the_steps() -> None:
    assert seconds_by_step(snapshot(State.ICP_FAILED))[Step.ICP] == pytest.approx(3)


def test_numbers_stand_in_columns_and_long_details_fold() -> None:
    long = StepLine(Step.VALIDATION, Mark.DONE, "word " * 40, 61.0, Decimal("0.0412"))
    short = StepLine(Step.ICP, Mark.DONE, "short", 0.25, Decimal(0))
    first, *rest = long.rows(80)
    assert first.endswith("1 min    $0.0412")
    assert " ".join([first[19:-20].strip(), *(row.strip() for row in rest)]).split() == ["word"] * 40
    assert first.index("1 min") + 5 == short.rows(80)[0].index("0.2 s") + 5


def test_what_the_steps_gave() -> None:
    outputs: dict[Step, dict[str, Any]] = {
        Step.ICP: {
            "industries": ["a", "b"],
            "buyer_roles": [{}, {}, {}],
            "pains": ["x"] * 4,
            "evidence": [{"field": "pains.0"}, {"field": "pains.1"}, {"field": "pains.1"}],
        },
        Step.COMPETITOR: {
            "competitors": [{"domain": "a.example", "pages_read": 5}, {"domain": "b.example", "pages_read": 0}],
            "keywords": [{}] * 41,
        },
        Step.CLUSTERING: {"clusters": [{"spokes": [{}] * 3}, {"spokes": [{}] * 2}], "leftovers": [{}]},
        Step.VALIDATION: {
            "clusters": [
                {"hub": "a", "is_valid": True, "reasons": []},
                {"hub": "b", "is_valid": False, "reasons": [{"message": '"b" falls, means the same as "a"'}]},
            ]
        },
    }
    articles = (article(1), article(2, passed=False, state="FAILED", reasons=(Reason(code="x", message="too thin"),)))
    details = [line.detail for line in step_lines(snapshot(State.COMPLETED, outputs=outputs, articles=articles))]
    assert details == [
        "2 industries, 3 roles, 4 pains, 2 of 10 items with evidence",
        "1 site (b.example could not be read), 5 pages read, 41 seed keywords",
        "0 of 0 approved",
        "2 clusters, 7 keywords, 1 left over",
        '1 of 2 valid: "b" falls, means the same as "a"',
        '1 of 2 passed their gates: "keyword 2": too thin',
        "1 page",
    ]


def test_articles_at_work_say_how_far_they_are() -> None:
    looked = snapshot(State.ARTICLE_PROCESSING, articles=(article(1), article(2, passed=False, state="WRITING")))
    assert step_lines(looked)[5].detail == '1 of 2 · "keyword 2": sections 4 of 6'


def test_a_failure_says_four_things() -> None:
    reasons = (Reason(code="cap_reached", message="the cap of $1.00 is reached"), Reason(code="x", message="and more"))
    failure = Failure(type="CapReachedError", message="the cap of $1.00 is reached", reasons=reasons)
    looked = snapshot(State.ARTICLE_FAILED, failure=failure, articles=(article(1), article(2, passed=False)))
    assert step_lines(looked)[5].detail == "parked in ARTICLE_FAILED: the cap of $1.00 is reached"
    assert kept_words(looked) == "ICP, 0 clusters, 1 of 2 articles"
    assert spent_words(looked) == "spent $0.0481 of $1.00 in 2 calls"
    told = "\n".join(stop_lines(looked))
    assert "and more" in told
    assert "kept      ICP" in told
    assert f"starter.py raise-cap {WORKFLOW_ID} 2.00 && starter.py retry {WORKFLOW_ID}" in told
    assert next_command(snapshot(State.COMPLETED)) == ""
    assert stop_lines(snapshot(State.ARTICLE_PROCESSING)) == []


def test_calls_that_went_to_the_cheaper_model_are_said() -> None:
    looked = snapshot(State.ARTICLE_PROCESSING)
    assert (looked.downgraded_calls, downgrade_lines(looked)) == (0, [])
    cost = StepCost(step="article", calls=5, cost_usd=Decimal("0.01"), downgraded_calls=3)
    cheaper = replace(looked, costs={**looked.costs, "article": cost})
    said = "  3 calls went to the cheaper model past 80 % of the cap"
    assert downgrade_lines(cheaper) == [said]
    session = Session(Settings(_env_file=None), Terminal(as_json=True), "ada")
    assert (said, "") in lines_of(session, cheaper)
    assert status_object(session, cheaper)["downgraded_calls"] == 3


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("1.00", "$1.00"),
        ("0.5", "$0.50"),
        ("0.04125", "$0.0413"),
        ("0.00001", "$0.00001"),
        ("12.3456789", "$12.3457"),
    ],
)
def test_dollars(amount: str, text: str) -> None:
    assert dollars(Decimal(amount)) == text


def changed(number: int, state: PublicationState) -> ChangedArticle:
    return ChangedArticle(article_id=UUID(int=number), slug=f"page-{number}", state=state, is_done=True)


@pytest.mark.parametrize(
    ("is_repeated", "words"), [(False, "2 of 2 unpublished"), (True, "already unpublished, nothing done")]
)
def test_what_was_taken_back_names_a_command_that_works(
    capsys: pytest.CaptureFixture[str], is_repeated: bool, words: str
) -> None:
    articles = [changed(number, PublicationState.UNPUBLISHED) for number in (1, 2)]
    session = Session(Settings(), Terminal(), "anna")
    record = snapshot(State.COMPLETED).record
    publishing._tell(session, record, ChangeKind.UNPUBLISH, articles, is_repeated=is_repeated)
    told = " ".join(capsys.readouterr().out.split())
    assert told.endswith(f"{words} · starter.py republish {WORKFLOW_ID} --reason TEXT turns it back")


def test_pages_that_were_taken_back_are_no_pages() -> None:
    gone = article(0).model_copy(update={"publication_state": "UNPUBLISHED"})
    assert detail_of(snapshot(State.COMPLETED, articles=(gone, gone)), Step.PUBLISH) == "2 pages unpublished"
    assert (
        detail_of(snapshot(State.COMPLETED, articles=(article(1), gone)), Step.PUBLISH) == "1 page, 1 page unpublished"
    )


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.PUBLISH_PENDING, "waits for approval, 2 warnings (preview shows them)"),
        (State.ARTICLE_PROCESSING, "passed, not published yet, 2 warnings (preview shows them)"),
        (State.COMPLETED, "passed, not published, 2 warnings (preview shows them)"),
    ],
)
def test_an_article_that_passed_is_told_in_short(state: State, words: str) -> None:
    reason = Reason(code="similar", level=Level.WARN, message="a long message " * 20)
    findings = [{"message": reason.message}, {"message": "another"}]
    facts = {"publication_state": None, "quality": {"values": {"findings": findings}}}
    passed = article(0, reasons=(reason,)).model_copy(update=facts)
    assert reading._why(snapshot(state, articles=(passed,)), passed) == words
    failed = article(1, passed=False, state="FAILED", reasons=(reason,)).model_copy(update={"publication_state": None})
    assert reading._why(snapshot(state, articles=(failed,)), failed) == reason.message


def test_a_long_quotation_is_shortened_for_people() -> None:
    told = showing._quotation({"quotation": "word " * 100, "url": "https://harborline.example"})
    assert told.endswith('…" https://harborline.example')
    assert len(told) < 220
    assert "…" not in showing._quotation({"quotation": "a short one", "url": "https://harborline.example"})


def test_the_history_says_how_many_were_selected() -> None:
    decisions = [KeywordDecision.APPROVED, KeywordDecision.APPROVED, KeywordDecision.DROPPED]
    review = ReviewRecord(
        decision_id=UUID(int=1),
        shown_version=3,
        kind=SeedDecisionKind.SELECT,
        actor="root",
        feedback=None,
        at=BEGAN,
        keywords=tuple(
            DecidedKeyword(position=number, text=f"keyword {number}", decision=decision, is_own=False)
            for number, decision in enumerate(decisions)
        ),
    )
    assert keyword_history._review_words(review).endswith("root selected 2 of 3")


def test_exported_keywords_have_the_note_of_the_reviewer() -> None:
    row = KeywordRow(
        position=1, text="audit", score=1, volume=None, difficulty=None, cpc_usd=None, intent="x", sources=[], note="no"
    )
    header, line = csv_text(KEYWORD_COLUMNS, [keyword_object(row)]).splitlines()
    assert (header.split(",")[-1], line.split(",")[-1]) == ("note", "no")


def test_words_for_numbers() -> None:
    assert [duration(seconds) for seconds in (0.04, 59.9, 61, 4000, 200_000)] == [
        "0.0 s",
        "59.9 s",
        "1 min",
        "1 h",
        "2 days",
    ]
    assert [counted(1, "page"), counted(2, "page"), counted(2, "industry", "industries")] == [
        "1 page",
        "2 pages",
        "2 industries",
    ]
