"""The brief: what is read exactly as written, what is refused and with which words."""

import json
from decimal import Decimal
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from domain.brief import (
    Brief,
    brief_from_mapping,
    brief_hash,
    brief_warnings,
    default_name,
    normalized,
    parse_brief,
    parse_cap,
)
from domain.errors import BadInputError

DESCRIPTION = (
    "Harborline automates accounts payable for mid-size distributors: it reads supplier invoices, matches them with "
    "purchase orders, routes approvals to the right person and pays on time."
)


def mapping(**changes: Any) -> dict[str, Any]:
    """A valid brief; a change to a dotted name is written ``group__field``."""
    data: dict[str, Any] = {
        "organization": {"name": "Harborline", "url": "https://harborline.example", "description": DESCRIPTION},
        "competitors": ["https://ledgerpilot.example", "https://payloom.example"],
    }
    for name, value in changes.items():
        group, _, field = name.partition("__")
        if field:
            data[group] = {**data.get(group, {}), field: value}
        else:
            data[group] = value
    return data


def refused(data: dict[str, Any]) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        brief_from_mapping(data)
    assert "\n" not in str(caught.value)
    return caught.value


def refused_text(text: str) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        parse_brief(text, source="acme.yaml")
    assert str(caught.value).startswith("acme.yaml: ")
    assert "\n" not in str(caught.value)
    return caught.value


def test_everything_but_the_organization_is_optional() -> None:
    data = mapping()
    del data["competitors"]
    brief = brief_from_mapping(data)
    assert brief.competitors == ()
    assert brief.cap_usd is None
    assert (brief.locale, brief.country) == ("en-US", "US")


def test_yaml_and_json_give_the_same_brief() -> None:
    data = mapping(
        cap_usd="0.5", articles={"max": 5, "min": 2, "words": 900}, voice={"banned_phrases": ["game changer"]}
    )
    from_yaml = parse_brief(yaml.safe_dump(data), source="a.yaml")
    from_json = parse_brief(json.dumps(data), source="a.json")
    assert from_yaml == from_json
    assert brief_hash(from_yaml) == brief_hash(from_json)


@pytest.mark.parametrize(
    ("literal", "amount"),
    [("0.1", "0.1"), ("0.123456789", "0.123456789"), ("2", "2"), ('"1.00"', "1.00"), ("5e-1", "0.5"), (".5", "0.5")],
)
def test_a_cap_is_read_exactly_as_written(literal: str, amount: str) -> None:
    brief = parse_brief(yaml.safe_dump(mapping()) + f"cap_usd: {literal}\n", source="a.yaml")
    assert brief.cap_usd == Decimal(amount)


def test_a_json_float_is_exact_too() -> None:
    text = json.dumps(mapping())[:-1] + ', "cap_usd": 0.100000001}'
    assert parse_brief(text, source="a.json").cap_usd == Decimal("0.100000001")


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("0", "above 0"),
        (0, "above 0"),
        ("-1", "above 0"),
        ("0.0000000001", "at most 9 decimals"),
        ("1e-12", "at most 9 decimals"),
        ("much", "amount of US dollars"),
        ("NaN", "amount of US dollars"),
        ("Infinity", "amount of US dollars"),
        (0.5, "amount of US dollars"),
        (True, "amount of US dollars"),
        (None, "amount of US dollars"),
        (["1"], "amount of US dollars"),
        ("10000001", "at most"),
        ("1e999999", "at most"),
    ],
)
def test_a_cap_that_is_refused(value: object, rule: str) -> None:
    error = refused(mapping(cap_usd=value))
    assert error.field == "cap_usd"
    assert rule in str(error)
    with pytest.raises(BadInputError, match=r"^--cap is "):
        parse_cap(value, "--cap")


def test_country_no_is_norway() -> None:
    text = yaml.safe_dump(mapping()) + "country: NO\nlocale: no\n"
    brief = parse_brief(text, source="a.yaml")
    assert (brief.country, brief.locale) == ("NO", "no")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("organization: [", "line 1"),
        ("a: 1\n b: 2\n", "line 2"),
        ("a: b: c", "line 1"),
        ('{"organization": {"name" "x"}}', "line 1"),
        ('{\n "organization"\n', "line 3"),
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a list", "list of fields"),
        ("just words", "list of fields"),
        ("a: &x 1\nb: *x\n", "aliases"),
        ("x: !!python/object/apply:os.system [ls]\n", "line 1"),
        ("name: a\nname: b\n", "given twice"),
        ('{"name": 1, "name": 2}', "given twice"),
        ("? [a, b]\n: 1\n", "name of a field"),
        ("1: a\n", "list of fields"),
        ("a: \x00\n", "not valid YAML"),
        ("[" * 5000, "too deeply"),
        ('{"a":' * 5000, "too deeply"),
        ("x" * 300_000, "at most"),
        ('{"cap_usd": ' + "9" * 5000 + "}", "not valid JSON"),
    ],
)
def test_a_broken_text_is_one_clear_line(text: str, words: str) -> None:
    assert words in str(refused_text(text))


def test_an_unknown_field_names_its_neighbour() -> None:
    error = refused(mapping(competitor=["https://payloom.example"]))
    assert error.field == "competitor"
    assert "did you mean 'competitors'?" in str(error)
    nested = refused(mapping(articles={"maximum": 3}))
    assert nested.field == "articles.maximum"
    assert "'max'" in str(nested)
    page = refused(mapping(existing_pages=[{"url": "https://harborline.example/ap", "keyword": "ap", "keywrd": "x"}]))
    assert page.field == "existing_pages[0].keywrd"
    assert "'keyword'" in str(page)


def test_a_misspelt_required_field_is_named_rather_than_the_missing_one() -> None:
    data = mapping()
    data["organisation"] = data.pop("organization")
    assert "did you mean 'organization'?" in str(refused(data))


def test_a_missing_field_is_named() -> None:
    data = mapping()
    del data["organization"]["url"]
    error = refused(data)
    assert error.field == "organization.url"
    assert "missing" in str(error)


def test_a_short_description_is_refused_and_a_middling_one_warned_about() -> None:
    error = refused(mapping(organization__description="word " * 19))
    assert error.field == "organization.description"
    assert "at least 20 words" in str(error)
    assert "19" in str(error)
    assert any("words" in warning for warning in brief_warnings(brief_from_mapping(mapping())))
    long = brief_from_mapping(mapping(organization__description="word " * 40))
    assert brief_warnings(long) == ()


def test_warnings_name_what_makes_the_result_worse() -> None:
    page = {"url": "https://elsewhere.example/ap", "keyword": "ap automation"}
    brief = brief_from_mapping(mapping(competitors=[], existing_pages=[page]))
    text = "\n".join(brief_warnings(brief))
    assert "competitors is empty" in text
    assert "https://elsewhere.example/ap" in text


@pytest.mark.parametrize(
    "url",
    [
        "https://harborline.example",
        "http://harborline.example",
        "https://www.harborline.example/pricing",
        "HTTPS://HarborLine.Example",
        "https://harborline.example:8443",
        "https://harborline.example.",
        "https://blog.harborline.example/post",
    ],
)
def test_the_own_domain_is_no_competitor(url: str) -> None:
    error = refused(mapping(competitors=["https://payloom.example", url]))
    assert error.field == "competitors[1]"
    assert "own site" in str(error)


def test_the_domain_above_the_own_one_is_the_own_company() -> None:
    data = mapping(organization__url="https://app.harborline.example", competitors=["https://harborline.example"])
    assert "own site" in str(refused(data))


def test_the_own_international_domain_is_known_in_both_spellings() -> None:
    data = mapping(organization__url="https://münchen.example", competitors=["https://xn--mnchen-3ya.example"])
    assert "own site" in str(refused(data))


def test_a_name_that_only_ends_alike_is_a_competitor() -> None:
    brief = brief_from_mapping(mapping(competitors=["https://notharborline.example"]))
    assert brief.competitors == ("https://notharborline.example",)


def test_a_competitor_stands_once() -> None:
    error = refused(mapping(competitors=["https://payloom.example", "http://WWW.payloom.example:81/x"]))
    assert error.field == "competitors[1]"
    assert "competitors[0]" in str(error)


def test_at_most_ten_competitors() -> None:
    urls = [f"https://rival{number}.example" for number in range(11)]
    assert len(brief_from_mapping(mapping(competitors=urls[:10])).competitors) == 10
    assert refused(mapping(competitors=urls)).field == "competitors"


@pytest.mark.parametrize(
    "url",
    [
        "payloom.example",
        "ftp://payloom.example",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://payloom.example:port",
        "https://payloom.example:99999",
        "https://user:secret@payloom.example",
        "https://pay loom.example",
        "https://[::1",
        "https://2130706433",
        "https://a..example",
        "",
        "https://" + "a" * 2000 + ".example",
    ],
)
def test_what_is_no_web_address(url: str) -> None:
    for field, data in [
        ("competitors[0]", mapping(competitors=[url])),
        ("organization.url", mapping(organization__url=url)),
        ("existing_pages[0].url", mapping(existing_pages=[{"url": url, "keyword": "k"}])),
    ]:
        assert refused(data).field == field


def test_urls_come_back_in_one_spelling() -> None:
    brief = brief_from_mapping(mapping(competitors=["HTTPS://Payloom.Example:443/", "http://x.example:8080/A?b=C#d"]))
    assert brief.competitors == ("https://payloom.example", "http://x.example:8080/A?b=C")


@pytest.mark.parametrize(
    ("field", "data"),
    [
        ("organization.name", mapping(organization__name="")),
        ("organization.name", mapping(organization__name="   ")),
        ("organization.name", mapping(organization__name="x" * 101)),
        ("organization.name", mapping(organization__name=7)),
        ("organization.name", mapping(organization__name="Har\u202ebor")),
        ("organization.name", mapping(organization__name="Har\x07bor")),
        ("organization.description", mapping(organization__description=DESCRIPTION + "\U000e0041")),
        ("organization.description", mapping(organization__description="word " * 2000)),
        ("organization", mapping(organization="Harborline")),
        ("audiences", mapping(audiences="controllers")),
        ("audiences", mapping(audiences=["a"] * 11)),
        ("audiences[1]", mapping(audiences=["a", ""])),
        ("voice.banned_phrases[0]", mapping(voice={"banned_phrases": ["x" * 101]})),
        ("existing_pages[0].keyword", mapping(existing_pages=[{"url": "https://a.example", "keyword": ""}])),
        ("locale", mapping(locale="english")),
        ("locale", mapping(locale="en_US")),
        ("locale", mapping(locale=None)),
        ("country", mapping(country="USA")),
        ("country", mapping(country="1A")),
        ("articles.max", mapping(articles={"max": 0})),
        ("articles.max", mapping(articles={"max": 51})),
        ("articles.max", mapping(articles={"max": True})),
        ("articles.max", mapping(articles={"max": "3"})),
        ("articles.min", mapping(articles={"min": 0})),
        ("articles.min", mapping(articles={"max": 2, "min": 3})),
        ("articles.words", mapping(articles={"words": 299})),
        ("publish.target", mapping(publish={"target": "ftp"})),
        ("publish.approval", mapping(publish={"approval": "nobody"})),
    ],
)
def test_a_refusal_names_the_field(field: str, data: dict[str, Any]) -> None:
    error = refused(data)
    assert error.field == field
    assert field in str(error)


def test_a_long_value_is_shown_short() -> None:
    assert len(str(refused(mapping(organization__name="x" * 5000)))) < 250


def test_the_hash_is_of_what_the_brief_says_not_of_how() -> None:
    one = brief_from_mapping(mapping(cap_usd="1"))
    other = brief_from_mapping(
        mapping(
            cap_usd="1.000",
            country="us",
            organization__description="  " + DESCRIPTION.replace(" ", "\n"),
            competitors=["https://LedgerPilot.example/", "https://payloom.example:443"],
        )
    )
    assert normalized(one) == normalized(other)
    assert default_name(one) == default_name(other) == f"brief-{brief_hash(one)[:8]}"
    assert brief_hash(one) != brief_hash(brief_from_mapping(mapping(cap_usd="1.01")))


def test_a_stored_brief_is_read_back_the_same() -> None:
    brief = brief_from_mapping(mapping(cap_usd="0.123456789"))
    again = Brief.model_validate_json(brief.model_dump_json())
    assert again == brief
    assert brief_from_mapping(normalized(brief)) == brief


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.decimals(allow_nan=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*Brief.model_fields, "competitor", ""])


@given(st.dictionaries(fields, plain, max_size=6))
def test_any_mapping_is_read_or_refused_in_one_line(data: dict[str, Any]) -> None:
    try:
        brief = brief_from_mapping({**mapping(), **data})
    except BadInputError as error:
        message = str(error)
    else:
        message = default_name(brief)
    assert len(message.splitlines()) == 1


@given(st.text(max_size=200))
def test_any_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_brief(text, source="any")
    assert len(str(caught.value).splitlines()) == 1
