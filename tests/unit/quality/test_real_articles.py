"""Defects put into encyclopedia articles, one of each class; ``python -m bench.defects`` tries all in all."""

from functools import cache

import pytest

from bench.defects import DEFECTS, Article, clean_case, data_folder, page_case, read_articles, try_defect
from domain.verdict import Level

FOLDER = data_folder()
pytestmark = pytest.mark.skipif(FOLDER is None, reason="no articles: INFIN8_DATA_DIR has no freshwiki")
FALSE_ALARMS_MAX = 0.02


@cache
def articles() -> list[Article]:
    assert FOLDER
    found = sorted(read_articles(FOLDER), key=lambda article: len(" ".join(article.paragraphs)))
    assert len(found) >= 10
    return found[:6]


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_defect_is_caught(defect: str) -> None:
    number = sorted(DEFECTS).index(defect)
    for place in range(6):
        outcome = try_defect(defect, articles()[(number + place) % 6], articles(), seed=number)
        if outcome is not None:
            break
    assert outcome is not None
    assert outcome.is_caught, outcome


def test_clean_articles_are_not_blocked() -> None:
    cases = [case for article in articles()[:4] for case in (clean_case(article, articles()[4:]), page_case(article))]
    blocked = [case.text[:80] for case in cases if any(one.level is Level.BLOCK for one in case.findings())]
    assert len(blocked) <= FALSE_ALARMS_MAX * len(cases), blocked
