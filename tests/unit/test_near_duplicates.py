"""What is one keyword, and what is not: pairs both ways."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.competitor import SeedKeyword
from domain.keyphrases import Intent, KeywordSource, extract_keyphrases
from domain.near_duplicates import meaning_key, merge_near_duplicates
from domain.pages import Page, SiteRead

SAME = [
    ("invoice approvals", "invoice approval"),
    ("Invoice Approval", "invoice  approval"),
    ("a/p automation", "ap automation"),
    ("A.P. automation", "AP automation"),
    ("software for invoices", "invoice software"),
    ("software for the approval of invoices", "invoice approval software"),
    ("terms of payment", "payment terms"),
    ("accounting software for freelancers", "freelancer accounting software"),
    ("crm for a small agency", "small agency crm"),
    ("jobs in finance", "finance jobs"),
    ("three-way matching", "three way matching"),
    ("3-way matching", "three way matching"),
    ("top ten crm tools", "top 10 crm tools"),
    ("e-invoicing", "einvoicing"),
    ("e commerce platform", "ecommerce platform"),
    ("e-commerce platforms", "ecommerce platform"),
    ("follow-up email", "followup email"),
    ("follow up emails", "follow-up email"),
    ("no-code app builder", "no code app builder"),
    ("non profit accounting", "nonprofit accounting"),
    ("non-profit accounting", "nonprofit accounting"),
    ("organisation chart", "organization chart"),
    ("optimise landing pages", "optimize landing page"),
    ("optimising crawl budget", "optimizing crawl budget"),
    ("search engine optimisation", "search engine optimization"),
    ("colour palette", "color palette"),
    ("behavioural analytics", "behavioral analytics"),
    ("data centre cooling", "data center cooling"),
    ("catalogue management", "catalog management"),
    ("driving licence renewal", "driving license renewal"),
    ("travelling salesman", "traveling salesman"),
    ("order fulfilment software", "order fulfillment software"),
    ("analyse log files", "analyze log files"),
    ("paediatric dentist", "pediatric dentist"),
    ("winter tyres", "winter tires"),
    ("r&d tax credit", "r & d tax credit"),
    ("r and d tax credits", "r&d tax credit"),
    ("terms & conditions template", "terms and conditions template"),
    ("supplier's portal", "supplier portal"),
    ("suppliers’ portal", "supplier portal"),
    ("the best crm", "best crm"),
    ("how to write a job ad", "how to write job ads"),
    ("how do i whiten teeth", "how to whiten teeth"),
    ("how can you whiten teeth", "how to whiten teeth"),
    ("what are purchase orders", "what is a purchase order"),
    ("what's a purchase order", "what is a purchase order"),
    ("teeth whitening", "tooth whitening"),
    ("children's dentist", "child dentist"),
    ("loans up to 1,000", "loan up to 1000"),
    ("10% discount", "10 percent discount"),
    ("shopify versus woocommerce", "shopify vs. woocommerce"),
    ("invoice app w/o subscription", "invoice app without subscription"),
    ("marketing kpis", "marketing kpi"),
    ("ﬁnance software", "finance software"),
    ("companies house filing", "company house filings"),
    ("iso 9001 audit", "iso9001 audit"),
    ("ui/ux design", "ui ux design"),
    ("google ads agency", "google ad agency"),
    ("flavoured coffee", "flavored coffees"),
    ("employee timesheets", "employee time sheet"),
    ("digitalisation strategy", "digitalization strategies"),
]
DIFFERENT = [
    ("b2b seo agency", "b2c seo agency"),
    ("website builder without code", "website builder with code"),
    ("app without subscription", "app subscription"),
    ("best crm 2023", "best crm 2024"),
    ("form 1040", "form 104"),
    ("iso 9001", "iso 27001"),
    ("iphone 15 case", "iphone 15 pro case"),
    ("100 watt bulb", "10 watt bulb"),
    ("no code", "code"),
    ("non dairy milk", "dairy milk"),
    ("house boat", "boat house"),
    ("race horse", "horse race"),
    ("cane sugar", "sugar cane"),
    ("accountant for lawyers", "lawyer for accountants"),
    ("migrate from shopify to woocommerce", "migrate from woocommerce to shopify"),
    ("usd to eur", "eur to usd"),
    ("dollar from euro", "euro from dollar"),
    ("invoice approval", "invoice approval software"),
    ("invoice software", "free invoice software"),
    ("best invoice software", "invoice software"),
    ("what is invoice approval", "invoice approval"),
    ("how to approve invoices", "why approve invoices"),
    ("custom software", "customs software"),
    ("new software", "news software"),
    ("wood glass", "wood glasses"),
    ("sale software", "sales software"),
    ("window cleaning", "windows cleaning"),
    ("good management", "goods management"),
    ("security trading", "securities trading"),
    ("mean value", "means value"),
    ("series a funding", "series funding"),
    ("vitamin a cream", "vitamin cream"),
    ("hepatitis a vaccine", "hepatitis b vaccine"),
    ("a level physics", "level physics"),
    ("plan b pill", "plan a pill"),
    ("po software", "pos software"),
    ("us visa", "u visa"),
    ("c++ developer", "c developer"),
    ("c# developer", "c developer"),
    (".net developer", "net developer"),
    ("re-sign contract", "resign contract"),
    ("re-cover sofa", "recover sofa"),
    ("log in page", "page log"),
    ("sign in sheet", "sheet sign"),
    ("invoice or receipt", "invoice receipt"),
    ("send invoices", "receive invoices"),
    ("import tax", "export tax"),
    ("buy house", "sell house"),
    ("inbound marketing", "outbound marketing"),
    ("pre approval", "post approval"),
    ("net 30 terms", "net 60 terms"),
    ("prize draw", "prise draw"),
    ("men shoes", "women shoes"),
    ("affiliated", "unaffiliated"),
    ("legal software", "illegal software"),
    ("schöne mütter", "schone mutter"),
    ("10 20", "1020"),
    ("$5 meals", "5 meals"),
    ("paid invoice", "unpaid invoice"),
    ("uk visa for indians", "india visa for uk"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_keyword(one: str, other: str) -> None:
    assert meaning_key(one) == meaning_key(other)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_two_keywords(one: str, other: str) -> None:
    assert meaning_key(one) != meaning_key(other)


@given(st.text(max_size=60))
def test_any_text_has_a_key(text: str) -> None:
    assert meaning_key(text) == meaning_key(f" {text.upper().lower()} ".lower()) or text.lower() != text.upper().lower()
    assert bool(meaning_key(text)) or not any(character.isascii() and character.isalnum() for character in text)


def test_words_without_letters_have_no_key_and_merge_with_nothing() -> None:
    marks = [SeedKeyword(text=text, score=1.0) for text in ("…", "—", "?!")]
    assert merge_near_duplicates(marks) == tuple(marks)


def a_keyword(text: str, *urls: str, **facts: object) -> SeedKeyword:
    sources = tuple(KeywordSource(url=url, domain="a.example") for url in urls)
    return SeedKeyword.model_validate(
        {"text": text, "score": 1.0, "sources": sources, "intent": Intent.COMMERCIAL, **facts}
    )


def test_the_most_searched_form_stays_with_all_sources() -> None:
    merged = merge_near_duplicates(
        [
            a_keyword("approval of invoices", "https://a.example/1", score=9.0, intent=Intent.INFORMATIONAL),
            a_keyword("supplier portal", "https://a.example/4"),
            a_keyword("invoice approvals", "https://a.example/2", volume=900, cpc_usd=Decimal("1.5")),
            a_keyword("invoice approval", "https://a.example/1", "https://a.example/3", volume=100, difficulty=40),
        ]
    )
    assert [keyword.text for keyword in merged] == ["invoice approvals", "supplier portal"]
    best = merged[0]
    assert (best.volume, best.score, best.difficulty, best.cpc_usd) == (900, 9.0, 40, Decimal("1.5"))
    assert best.intent is not Intent.INFORMATIONAL
    assert {source.url for source in best.sources if isinstance(source, KeywordSource)} == {
        f"https://a.example/{number}" for number in (1, 2, 3)
    }


def test_a_merged_list_merges_no_further_and_loses_no_source() -> None:
    texts = [text for pair in SAME for text in dict.fromkeys(pair)]
    keywords = [a_keyword(text, f"https://a.example/{number}") for number, text in enumerate(texts)]
    merged = merge_near_duplicates(keywords)
    assert merge_near_duplicates(merged) == merged
    assert sum(len(keyword.sources) for keyword in merged) == len(keywords)
    assert len(merged) < len(keywords) / 1.9


def test_extracted_phrases_that_mean_the_same_are_one() -> None:
    def page(path: str, heading: str) -> Page:
        return Page(
            url=f"https://a.example/{path}",
            title="",
            headings=(heading,),
            passages=(),
            content_text="",
            is_own_site=False,
        )

    headings = ("Invoice software", "Software for invoices", "B2B SEO agency", "B2C SEO agency")
    pages = tuple(page(str(number), heading) for number, heading in enumerate(headings))
    found = {phrase.text: phrase for phrase in extract_keyphrases([SiteRead(site="a.example", pages=pages)])}
    assert {"b2b seo agency", "b2c seo agency"} <= found.keys()
    (kept,) = found.keys() & {"invoice software", "software for invoices"}
    assert len(found[kept].sources) == 2
