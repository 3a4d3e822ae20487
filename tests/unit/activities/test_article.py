"""What becomes of the article step, given what became of its articles."""

from uuid import uuid4

import pytest

from activities.article import judge_articles
from db.articles import ArticleRow
from domain.verdict import Level, Reason


def article(state: str, *codes: str, accepted: bool = False) -> ArticleRow:
    return ArticleRow(
        article_id=uuid4(),
        cluster_id=uuid4(),
        position=0,
        keyword="invoice approval",
        role="hub",
        state=state,
        revision=1,
        accepted_revision=1 if accepted else None,
        redo_note=None,
        reasons=tuple(Reason(code=code, message=f"because of {code}") for code in codes),
        title=None,
        slug=None,
    )


PASSED = article("PASSED", accepted=True)
REFUSED_BY_GATES = article("FAILED", "term_coverage")
WITHOUT_MONEY = article("NOT_BEGUN", "cap_reached")
OUT_OF_LUCK = article("FAILED", "provider_unavailable")


@pytest.mark.parametrize(
    ("rows", "articles_min", "accept_partial", "level"),
    [
        ([PASSED, PASSED], 1, False, Level.PASS),
        ([PASSED, REFUSED_BY_GATES], 1, False, Level.WARN),
        ([PASSED, REFUSED_BY_GATES], 2, False, Level.BLOCK),
        ([REFUSED_BY_GATES], 1, False, Level.BLOCK),
        ([PASSED, WITHOUT_MONEY], 1, False, Level.BLOCK),
        ([PASSED, OUT_OF_LUCK], 1, False, Level.BLOCK),
        ([PASSED, WITHOUT_MONEY], 2, True, Level.WARN),
        ([REFUSED_BY_GATES, WITHOUT_MONEY], 1, True, Level.BLOCK),
        ([], 1, False, Level.BLOCK),
        ([], 1, True, Level.BLOCK),
    ],
)
def test_the_step_completes_only_when_nothing_is_left_to_resume(
    rows: list[ArticleRow], articles_min: int, accept_partial: bool, level: Level
) -> None:
    verdict = judge_articles(rows, articles_min=articles_min, accept_partial=accept_partial)
    assert verdict.level is level


def test_the_verdict_names_every_missing_article_and_how_many_passed() -> None:
    verdict = judge_articles([PASSED, WITHOUT_MONEY], articles_min=1, accept_partial=False)
    messages = [reason.message for reason in verdict.reasons]
    assert "1 of 2 articles passed" in messages
    assert any("because of cap_reached" in message for message in messages)
