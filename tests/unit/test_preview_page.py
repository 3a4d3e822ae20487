"""The page that shows articles before their approval: their reports can be read, and nothing in them becomes markup."""

from decimal import Decimal
from typing import Any

import html5lib
import pytest

from domain.preview_page import PreviewedArticle, PreviewPage, findings_of, render_preview

FINDINGS = [
    {
        "code": "sentences_long",
        "level": "warn",
        "message": "30% of the sentences have more than 20 words",
        "fix": "cut the longest in two",
        "section": 3,
        "excerpt": "A sentence <b>that</b> goes on",
    }
]
QUALITY = {
    "level": "warn",
    "reasons": [{"code": "sentences_long", "message": "30% …: cut.", "level": "warn"}],
    "values": {"words": 912, "flesch": 61.4, "term_coverage": 0.917, "keyword_density": 0.0123, "findings": FINDINGS},
}


def article(**changes: Any) -> PreviewedArticle:
    facts: dict[str, Any] = {
        "number": 1,
        "title": "Accounts payable <automation>",
        "keyword": "accounts payable",
        "role": "hub",
        "state": "PASSED",
        "cost_usd": Decimal("0.01284"),
        "page": "accounts-payable.html",
        "content_hash": "0123456789abcdef",
        "quality": QUALITY,
    }
    return PreviewedArticle(**{**facts, **changes})


def page_of(*articles: PreviewedArticle, state: str = "PUBLISH_PENDING") -> str:
    return render_preview(
        PreviewPage(
            workflow_id="ece489fe-6115-5cb9-b9dd-aa641ea8dd94",
            workflow_name="spring",
            organization_name="Harborline & Sons",
            state=state,
            is_demo_text=False,
            articles=articles,
        )
    )


def test_report_says_what_is_wrong_where_and_what_to_do() -> None:
    page = page_of(article())
    assert "passes its gates with 1 warning" in page
    assert "Section 3. </span>30% of the sentences have more than 20 words." in page
    assert "To mend it: cut the longest in two." in page
    assert "<q>A sentence &lt;b&gt;that&lt;/b&gt; goes on</q>" in page
    assert "<dt>terms covered</dt><dd>92%</dd>" in page
    assert "$0.0128" in page
    assert "starter.py approve ece489fe-6115-5cb9-b9dd-aa641ea8dd94" in page
    assert '<iframe src="accounts-payable.html"' in page


def test_an_article_without_a_page_says_why() -> None:
    gone = article(number=2, state="NOT_BEGUN", page=None, quality=None, notes=("not begun: the cap …",))
    page = page_of(article(), gone)
    assert "1 article of 2 to approve" in page
    assert "is not written yet" in page
    assert "no version of it passed its gates" in page_of(article(state="FAILED", page=None))
    assert "not begun: the cap …" in page
    assert page.count("<iframe") == 1


def test_only_what_waits_for_approval_names_the_command() -> None:
    assert "starter.py approve" not in page_of(article(), state="COMPLETED")


@pytest.mark.parametrize("articles", [[], [article()], [article(quality=None)], [article(page=None)]])
def test_page_is_free_of_html_errors(articles: list[PreviewedArticle]) -> None:
    parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree"))
    parser.parse(page_of(*articles))
    assert parser.errors == []


def test_findings_come_from_the_reasons_where_no_findings_are_stored() -> None:
    assert findings_of(None) == []
    assert findings_of(QUALITY) == FINDINGS
    assert findings_of({"reasons": QUALITY["reasons"], "values": {}}) == QUALITY["reasons"]
