"""One list of crawled keyphrases and a provider's keywords."""

from decimal import Decimal

from domain.brief import brief_from_mapping
from domain.competitor import SeedKeyword
from domain.icp import BuyerRole, Firmographics, Icp
from domain.keyphrases import Intent, KeywordSource
from domain.keyword_data import FoundKeywords, KeywordEndpoint, KeywordFigures, ProviderSource
from domain.seed_merging import lacking_difficulty, merge_keywords
from domain.settings import KeywordDataSettings

BRIEF = brief_from_mapping(
    {
        "organization": {
            "name": "Harborline",
            "url": "https://harborline.example",
            "description": "Harborline sells accounts payable automation to mid-size distributors whose finance teams "
            "receive many supplier invoices and want to approve, match and pay them on time without manual work.",
        }
    }
)
ICP = Icp(
    industries=("wholesale distribution",),
    firmographics=Firmographics(size="50 to 500 people", geography="United States"),
    buyer_roles=(BuyerRole(role="controller", decision_power="decides"),),
    pains=("late payment fees",), goals=("faster month end close",), triggers=("new ERP",),
    alternatives=("spreadsheets",), disqualifiers=(), value_proposition="invoices approved on time", evidence=(),
)  # fmt: skip
SITES = ("https://www.ledger-pilot.example", "https://rise.example")
PAGE = KeywordSource(url="https://ledger-pilot.example/a", domain="ledger-pilot.example")
OTHER_PAGE = KeywordSource(url="https://rise.example/b", domain="rise.example")


def site(domain: str = "ledger-pilot.example") -> ProviderSource:
    return ProviderSource(endpoint=KeywordEndpoint.KEYWORDS_FOR_SITE, asked=domain, domain=domain)


def found(*keywords: KeywordFigures, source: ProviderSource | None = None) -> FoundKeywords:
    return FoundKeywords(source=source or site(), keywords=keywords)


def figures(text: str, volume: int | None = 100, difficulty: int | None = None) -> KeywordFigures:
    return KeywordFigures(text=text, volume=volume, difficulty=difficulty)


def merged(
    crawled: list[SeedKeyword],
    *answers: FoundKeywords,
    difficulties: tuple[FoundKeywords, ...] = (),
    settings: KeywordDataSettings | None = None,
) -> dict[str, SeedKeyword]:
    keywords = merge_keywords(
        crawled, answers, difficulties, BRIEF, ICP, SITES, settings or KeywordDataSettings(is_enabled=True)
    )
    assert len({keyword.text for keyword in keywords}) == len(keywords)
    assert [-keyword.score for keyword in keywords] == sorted(-keyword.score for keyword in keywords)
    return {keyword.text: keyword for keyword in keywords}


def seed(text: str, score: float = 1.0, *sources: KeywordSource) -> SeedKeyword:
    return SeedKeyword(text=text, score=score, intent=Intent.COMMERCIAL, sources=sources or (PAGE,))


def test_the_same_keyword_is_one_row_with_every_source() -> None:
    other = site("rise.example")
    one = KeywordFigures(text="invoice approval", volume=90, cpc_usd=Decimal(2), intent=Intent.INFORMATIONAL)
    two = KeywordFigures(text="invoice approval", volume=110, difficulty=30)
    keyword = merged([seed("invoice approval", 1.0, PAGE, OTHER_PAGE)], found(one), found(two, source=other))[
        "invoice approval"
    ]
    assert keyword.sources == (PAGE, OTHER_PAGE, site(), other)
    assert (keyword.volume, keyword.difficulty, keyword.cpc_usd) == (110, 30, Decimal(2))
    assert keyword.intent is Intent.INFORMATIONAL


def test_crawled_keywords_stay_whatever_the_provider_says() -> None:
    crawled = [seed(f"invoice approval {number}", 1 / (number + 1)) for number in range(60)]
    flood = found(*(figures(f"supplier invoices payment {number}", 5000) for number in range(500)))
    rows = merged(crawled, flood, settings=KeywordDataSettings(is_enabled=True, keywords_added_max=7))
    assert set(rows) >= {keyword.text for keyword in crawled}
    assert len(rows) == 67
    assert merged(crawled) == {keyword.text: keyword for keyword in crawled}
    assert merged(crawled, found()) == {keyword.text: keyword for keyword in crawled}


def test_only_words_of_the_market_are_added() -> None:
    rows = merged(
        [seed("invoice approval workflow")],
        found(
            figures("what is invoice approval"),
            figures("supplier invoices"),
            figures("celebrity gossip news"),
            figures("payable"),
            figures("invoice cake recipes today"),
        ),
    )
    assert set(rows) == {"invoice approval workflow", "what is invoice approval", "supplier invoices"}


def test_nobodys_brand_is_added_however_it_is_written() -> None:
    rows = merged(
        [seed("invoice approval")],
        found(
            figures("ledgerpilot invoice approval"),
            figures("ledger pilot invoice approval"),
            figures("ledger-pilot invoice approval"),
            figures("harborline invoice approval"),
            figures("rise invoice approval"),
            figures("enterprise invoice approval approval"),
        ),
    )
    assert set(rows) == {"invoice approval", "enterprise invoice approval approval"}


def test_a_brand_that_is_a_word_of_the_market_takes_nothing_away() -> None:
    keywords = merge_keywords(
        [seed("invoice approval")],
        [found(figures("supplier invoice approval"))],
        [],
        BRIEF,
        ICP,
        ["https://invoice.example"],
        KeywordDataSettings(),
    )
    assert {keyword.text for keyword in keywords} == {"invoice approval", "supplier invoice approval"}


def test_volume_orders_what_is_alike_and_nothing_is_invented() -> None:
    rows = merged(
        [seed("invoice approval", 1.0)],
        found(figures("supplier invoices approval", 10), figures("supplier invoices match", 5000),
              figures("supplier invoices pay", None)),
    )  # fmt: skip
    assert list(rows) == [
        "invoice approval", "supplier invoices match", "supplier invoices approval", "supplier invoices pay",
    ]  # fmt: skip
    assert rows["supplier invoices pay"].volume is None
    assert rows["invoice approval"].volume is None


def test_difficulties_tell_of_rows_that_are_there_and_add_none() -> None:
    source = ProviderSource(endpoint=KeywordEndpoint.BULK_KEYWORD_DIFFICULTY, asked="seed_keywords")
    answer = found(figures("invoice approval", None, 55), figures("unasked keyword here", None, 1), source=source)
    crawled = [seed("invoice approval"), seed("three-way matching")]
    rows = merged(crawled, found(figures("three-way matching", 10, 20)), difficulties=(answer,))
    assert rows["invoice approval"].difficulty == 55
    assert rows["invoice approval"].sources == (PAGE, source)
    assert rows["three-way matching"].difficulty == 20
    assert "unasked keyword here" not in rows
    assert lacking_difficulty(crawled) == ("invoice approval", "three-way matching")
    assert lacking_difficulty(list(rows.values())) == ()


def test_without_a_crawled_page_the_provider_alone_makes_the_list() -> None:
    rows = merged([], found(figures("supplier invoices", 900), figures("accounts payable automation", 1200)))
    assert set(rows) == {"supplier invoices", "accounts payable automation"}
    assert all(keyword.sources == (site(),) for keyword in rows.values())
