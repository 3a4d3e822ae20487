"""Keyword data as plain data: markets, requests and what bounds them, envelopes and figures of any shape."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import BadInputError
from domain.keyphrases import Intent
from domain.keyword_data import (
    KeywordEndpoint,
    Market,
    Trouble,
    difficulty_request,
    keyword_text,
    market_of,
    phrase_request,
    read_keywords,
    read_reply,
    request_slot_hash,
    site_request,
    source_names,
    source_words,
    trouble_of,
)
from domain.spend import Endpoint, ProviderRequest, check_bounds

US = Market(location_code=2840, language_code="en")


def envelope(
    *items: Any, code: int = 20000, cost: Any = 0.0103, task: dict[str, Any] | None = None, **top: Any
) -> dict[str, Any]:
    one = {"status_code": code, "status_message": "Ok.", "cost": cost, "result": [{"items": list(items)}]}
    return {"status_code": 20000, "status_message": "Ok.", "cost": cost, "tasks": [{**one, **(task or {})}], **top}


def item(keyword: Any, volume: Any = 320, difficulty: Any = 41, cpc: Any = 3.27, intent: Any = "commercial") -> Any:
    return {
        "keyword": keyword,
        "keyword_info": {"search_volume": volume, "cpc": cpc},
        "keyword_properties": {"keyword_difficulty": difficulty},
        "search_intent_info": {"main_intent": intent},
    }


# Markets


@pytest.mark.parametrize(
    ("country", "locale", "code", "language"),
    [
        ("US", "en-US", 2840, "en"),
        ("US", "es-MX", 2840, "es"),
        ("GB", "en-GB", 2826, "en"),
        ("DE", "de-DE", 2276, "de"),
        ("BR", "pt-BR", 2076, "pt"),
        ("CH", "fr-CH", 2756, "fr"),
        ("NO", "no-NO", 2578, "nb"),
        ("TW", "zh-Hant-TW", 2158, "zh-TW"),
    ],
)
def test_a_market_is_a_location_and_a_language(country: str, locale: str, code: int, language: str) -> None:
    assert market_of(country, locale) == Market(location_code=code, language_code=language)


@pytest.mark.parametrize(
    ("country", "locale", "told"),
    [("KP", "ko-KP", "no keyword figures for the country KP"), ("DE", "en-US", "for DE in de, not in the language")],
)
def test_a_market_without_figures_is_named(country: str, locale: str, told: str) -> None:
    with pytest.raises(BadInputError, match=told):
        market_of(country, locale)


# Requests


def test_requests_state_their_rows_and_pass_their_own_bounds() -> None:
    requests = [
        site_request("payloom.example", US, 100),
        phrase_request(KeywordEndpoint.KEYWORD_SUGGESTIONS, "Rechnung prüfen", US, 50),
        phrase_request(KeywordEndpoint.RELATED_KEYWORDS, "invoice approval", US, 1000),
        difficulty_request(["a b", "c d", "e f"], US),
    ]
    assert [request.searches for request in requests] == [100, 50, 1000, 3]
    assert [request.model.partition("/")[0] for request in requests] == ["dataforseo"] * 4
    for request in requests:
        check_bounds(request)
        assert request.path == f"/dataforseo_labs/google/{request.model.partition('/')[2]}/live"
        [task] = json.loads(request.body)
        assert (task["location_code"], task["language_code"]) == (2840, "en")


def changed(request: ProviderRequest, searches: int | None = None, **fields: Any) -> ProviderRequest:
    [task] = json.loads(request.body)
    body = json.dumps([{name: value for name, value in {**task, **fields}.items() if value is not ...}])
    return request.model_copy(update={"body": body, "searches": request.searches if searches is None else searches})


@pytest.mark.parametrize(
    "request_",
    [
        changed(site_request("a.example", US, 10), searches=9),
        changed(site_request("a.example", US, 10), limit=...),
        changed(site_request("a.example", US, 10), limit=1001, searches=1001),
        changed(site_request("a.example", US, 10), limit=True, searches=1),
        changed(site_request("a.example", US, 10), limit="10"),
        changed(site_request("a.example", US, 10), include_clickstream_data=True),
        changed(site_request("a.example", US, 10), include_serp_info=True),
        changed(difficulty_request(["a b", "c d"], US), limit=2),
        changed(difficulty_request(["a b", "c d"], US), searches=1),
        changed(difficulty_request(["a b"], US), keywords=[], searches=0),
        site_request("a.example", US, 10).model_copy(update={"path": KeywordEndpoint.RELATED_KEYWORDS.path}),
        site_request("a.example", US, 10).model_copy(update={"body": "{}"}),
        site_request("a.example", US, 10).model_copy(update={"body": "["}),
        site_request("a.example", US, 10).model_copy(
            update={
                "body": site_request("a.example", US, 5).body[:-1] + "," + site_request("a.example", US, 5).body[1:]
            }
        ),
    ],
)
def test_what_may_cost_more_than_its_hold_is_refused(request_: ProviderRequest) -> None:
    with pytest.raises(BadInputError):
        check_bounds(request_)


def embeddings(texts: Any, messages: int, model: str = "m", **more: Any) -> ProviderRequest:
    body = json.dumps({"model": "m", "input": texts, **more})
    return ProviderRequest(
        endpoint=Endpoint.EMBEDDINGS, model=model, path="/embeddings", body=body, messages=messages, max_tokens=0
    )


def test_an_embeddings_request_states_its_texts() -> None:
    check_bounds(embeddings(["a", "b"], 2, encoding_format="base64"))
    for wrong in (
        embeddings(["a", "b"], 1),
        embeddings("a", 1),
        embeddings(["a", ""], 2),
        embeddings([], 0),
        embeddings([[1, 2]], 1),
        embeddings(["a"], 1, model="other"),
        embeddings(["a"], 1, n=2),
    ):
        with pytest.raises(BadInputError):
            check_bounds(wrong)


def test_two_requests_of_a_slot_are_the_same_only_when_they_ask_the_same() -> None:
    one = site_request("a.example", US, 10)
    hashes = {
        request_slot_hash("s", one),
        request_slot_hash("t", one),
        request_slot_hash("s", site_request("a.example", US, 11)),
        request_slot_hash("s", site_request("b.example", US, 10)),
    }
    assert len(hashes) == 4
    assert request_slot_hash("s", one) == request_slot_hash("s", site_request("a.example", US, 10))


# Envelopes


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (20000, None),
        (40102, None),
        (40100, Trouble.REFUSED),
        (40501, Trouble.REFUSED),
        (40000, Trouble.REFUSED),
        (40400, Trouble.REFUSED),
        (40200, Trouble.NO_MONEY),
        (40210, Trouble.NO_MONEY),
        (40203, Trouble.NO_MONEY),
        (40202, Trouble.RATE_LIMITED),
        (40209, Trouble.RATE_LIMITED),
        (40101, Trouble.UNAVAILABLE),
        (40601, Trouble.UNAVAILABLE),
        (50000, Trouble.UNAVAILABLE),
        (50401, Trouble.UNAVAILABLE),
        (59999, Trouble.UNAVAILABLE),
        (50100, Trouble.REFUSED),
        (20100, Trouble.REFUSED),
        (0, Trouble.REFUSED),
    ],
)
def test_a_code_says_what_to_do(code: int, trouble: Trouble | None) -> None:
    assert trouble_of(code) is trouble


def test_the_cost_is_the_providers_own_and_exact() -> None:
    text = json.dumps(envelope(item("a b"))).replace("0.0103", "0.01030000000000000001")
    reply = read_reply(text)
    assert reply is not None
    assert reply.cost_usd == Decimal("0.010300001")  # up to the next nano-dollar
    assert reply.rows == 1


@pytest.mark.parametrize(
    ("value", "cost"),
    [
        (envelope(cost=0.01, task={"cost": 0.02}), Decimal("0.02")),
        (envelope(cost=0.02, task={"cost": 0.01}), Decimal("0.02")),
        (envelope(cost=None), None),
        (envelope(cost="0.01"), None),
        (envelope(cost=-1), None),
        (envelope(cost=True), None),
        (envelope(cost=0), Decimal(0)),
        (envelope(cost=1e300), None),
    ],
)
def test_figures_that_make_no_sense_are_no_figures(value: dict[str, Any], cost: Decimal | None) -> None:
    reply = read_reply(json.dumps(value))
    assert reply is not None
    assert reply.cost_usd == cost


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "7", "<html>", "{", '{"error": {"code": 502}}', '{"status_code": "20000"}',
     '{"status_code": 20000}', '{"status_code": 20000, "tasks": []}', '{"status_code": 20000, "tasks": null}',
     '{"status_code": 20000, "tasks": [null]}', '{"status_code": 20000, "tasks": [{}]}', '{"status_code": NaN}',
     "[" * 100_000],
)  # fmt: skip
def test_what_is_no_envelope_is_none(text: str) -> None:
    assert read_reply(text) is None
    with pytest.raises(BadInputError, match="something else than its envelope"):
        read_keywords(text)


def test_the_code_that_counts_is_the_tasks_where_the_envelope_is_fine() -> None:
    failed = read_reply(json.dumps(envelope(code=40501, cost=0)))
    whole = read_reply('{"status_code": 40202, "status_message": "too fast", "cost": 0, "tasks": null}')
    assert failed is not None
    assert whole is not None
    assert (failed.code, whole.code, whole.message) == (40501, 40202, "too fast")
    with pytest.raises(BadInputError, match=r"code 40501.*refused"):
        read_keywords(json.dumps(envelope(code=40501, cost=0)))


# Figures


def test_every_endpoints_rows_are_read() -> None:
    rows = [
        item("Invoice  Approval Software"),
        {"keyword_data": item("three-way matching", volume=None, cpc=None, intent=None)},
        {"keyword": "purchase order", "keyword_difficulty": 17},
    ]
    first, second, third = read_keywords(json.dumps(envelope(*rows)))
    assert first.text == "invoice approval software"
    assert (first.volume, first.difficulty, first.cpc_usd) == (320, 41, Decimal("3.27"))
    assert first.intent is Intent.COMMERCIAL
    assert (second.text, second.volume, second.cpc_usd, second.intent) == ("three-way matching", None, None, None)
    assert (third.text, third.difficulty) == ("purchase order", 17)


@pytest.mark.parametrize(
    "result", [None, [], [None], [{}], [{"items": None}], [{"items": "x"}], [{"items": [None, 3]}]]
)
def test_an_answer_without_rows_has_none(result: Any) -> None:
    assert read_keywords(json.dumps(envelope(task={"result": result}))) == ()
    assert read_keywords(json.dumps(envelope(code=40102, task={"result": result}))) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("volume", -1), ("volume", 2.5), ("volume", "320"), ("volume", 10**12), ("volume", True), ("difficulty", 101),
     ("difficulty", -1), ("cpc", -0.1), ("cpc", 1e9), ("cpc", "3"), ("intent", "buying"), ("intent", 3)],
)  # fmt: skip
def test_a_figure_out_of_bounds_is_unknown(field: str, value: Any) -> None:
    [figures] = read_keywords(json.dumps(envelope(item("a b", **{field: value}))))
    assert getattr(figures, "cpc_usd" if field == "cpc" else field) is None


@pytest.mark.parametrize(
    "text",
    [None, 3, "", "  ", "…", "123 456", "x" * 81, "a b c d e f g h i j k", "visit https://evil.example now",
     "www.evil.example", "=cmd|' /c calc'!a0", "@sum(a1)", "+49 30", "<script>alert(1)</script>", "\u202e\u200b"],
)  # fmt: skip
def test_what_no_keyword_can_be_is_left_out(text: Any) -> None:
    assert keyword_text(text) is None
    assert read_keywords(json.dumps(envelope(item(text)))) == ()


def test_hidden_characters_go_and_one_text_is_one_row() -> None:
    rows = [item("Invoice\x00 appro\u200bval"), item("invoice approval", volume=1), item("invoice approval.")]
    [figures] = read_keywords(json.dumps(envelope(*rows)))
    assert (figures.text, figures.volume) == ("invoice approval", 320)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["status_code", "tasks", "cost", "result", "items", "keyword", "keyword_info", "keyword_data",
                         "search_volume", "cpc", "keyword_properties", "keyword_difficulty"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_no_answer_makes_the_reader_stumble(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(envelope(task={"result": value})), json.dumps(envelope(value))):
        try:
            read_reply(text)
            read_keywords(text)
        except BadInputError:
            pass


def test_a_source_is_told_in_words() -> None:
    page = {"url": "https://a.example/b", "domain": "a.example"}
    data = {"provider": "dataforseo", "endpoint": "keywords_for_site", "asked": "a.example", "domain": "a.example"}
    assert source_words(page) == "https://a.example/b"
    assert source_words(data) == "DataForSEO keywords_for_site a.example"
    assert source_names([page, data, page]) == "a.example, DataForSEO"
