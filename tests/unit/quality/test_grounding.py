import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.grounding import ClaimKind, claims, ungrounded, without_ungrounded

TEXTS = st.text(alphabet=st.sampled_from(list("ab Q3.,:;%$€0129 “”\"«»'’-–kmx\n")), max_size=60)


def values(text: str) -> list[str]:
    return [claim.value for claim in claims(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("45%", "%45"),
        ("45 percent", "%45"),
        ("forty-five per cent", "%45"),
        ("1,200 invoices", "1200"),
        ("1200 invoices", "1200"),
        ("$1.2 million", "$1200000"),
        ("$1.2M", "$1200000"),
        ("1.2 million dollars", "$1200000"),
        ("USD 1,200,000", "$1200000"),
        ("€99", "€99"),
        ("99 euros", "€99"),
        ("3x faster", "×3"),
        ("three times faster", "×3"),
        ("$0.05", "$0.05"),
        ("in Q3", "q3"),
        ("24 °C", "24"),
        ("version 2.10.1", "2.10.1"),
        ("two thousand suppliers", "2000"),
    ],
)
def test_number_has_one_normal_form(text: str, value: str) -> None:
    assert values(text) == [value]


@pytest.mark.parametrize("text", ["B2B buyers", "P2P and O2C", "two of them", "nobody", "one by one", ""])
def test_words_are_no_numbers(text: str) -> None:
    assert values(text) == []


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("up to 1,200 invoices", "as many as 1200 invoices"),
        ("cut by 40%", "cut by forty percent"),
        ("takes 5 days", "takes five days"),
        ("from 10% to 20%", "10–20%"),
        ("$30 or $40", "$30 to 40"),
        ("He calls it “touchless”.", "what we call “touchless” posting"),
        ('He said "it just works," and left.', "“It just works”, he said."),
        ("“We don't wait”", "we don’t   wait any more"),
        ('A screen of 24" is enough.', "24 inches"),
    ],
)
def test_claim_of_the_source_passes(text: str, source: str) -> None:
    assert ungrounded(text, ["unrelated 7", source]) == []


@pytest.mark.parametrize(
    ("text", "source", "failing"),
    [
        ("cut by 41%", "cut by 40%", "41%"),
        ("40% of them", "40 of them", "40%"),
        ("40 of them", "40% of them", "40"),
        ("costs $499", "costs €499", "$499"),
        ("$1.2 million", "$1.2 billion", "$1.2 million"),
        ("in 2024", "in 2023", "2024"),
        ("12 suppliers", "112 suppliers", "12"),
        ("Ninety percent agree", "Most agree", "Ninety percent"),
        ("“We never wait”", "We hardly wait", "“We never wait”"),
        ('"made up"', "", '"made up"'),
        ("It is “open", "It is closed", "“open"),
        ("They call it “able”.", "on the table", "“able”"),
    ],
)
def test_claim_of_no_source_is_told(text: str, source: str, failing: str) -> None:
    found = [claim.text for claim in ungrounded(text, [source])]
    assert found == [failing]


def test_unclosed_straight_quotation_is_a_quotation_to_the_end() -> None:
    assert [claim.kind for claim in claims('She said "nothing of the sort')] == [ClaimKind.QUOTATION]


def test_number_in_the_articles_own_name_claims_nothing() -> None:
    text = "Form 1099 reporting starts with 3 lists."
    assert [claim.text for claim in ungrounded(text, [], exempt_phrases=["form 1099 reporting"])] == ["3"]


def test_sentences_with_ungrounded_claims_go_and_the_others_stay() -> None:
    text = "It reads invoices. It saves 40% of the time. Firms such as Payloom, Inc. do it too. “Never,” she said."
    kept, dropped = without_ungrounded(text, ["It saves 30%"])
    assert kept == "It reads invoices. Firms such as Payloom, Inc. do it too."
    assert dropped == ["It saves 40% of the time.", "“Never,” she said."]


def test_quotation_over_two_sentences_goes_whole() -> None:
    text = "Ask first. He said: “It works. It is cheap.” Then decide."
    kept, dropped = without_ungrounded(text, [])
    assert kept == "Ask first. Then decide."
    assert dropped == ["He said: “It works. It is cheap.”"]


@given(TEXTS)
@example('“” " 5" 1,200')
def test_every_text_is_grounded_in_itself(text: str) -> None:
    assert ungrounded(text, [text]) == []


@given(TEXTS, TEXTS)
def test_what_is_left_after_dropping_is_grounded(text: str, source: str) -> None:
    kept, dropped = without_ungrounded(text, [source])
    failing = ungrounded(text, [source])
    assert bool(dropped) == bool(failing)
    assert all(one in text for one in dropped)
    assert len(kept) <= len(text)


@given(st.integers(min_value=0, max_value=10**9), st.sampled_from(["", "%", " percent", "x"]))
def test_separators_change_no_number_and_one_digit_does(number: int, unit: str) -> None:
    assert ungrounded(f"about {number:,}{unit} of it", [f"{number}{unit}"]) == []
    assert ungrounded(f"about {number + 1:,}{unit} of it", [f"{number}{unit}"]) != []


@given(st.decimals(min_value=0, max_value=10**6, places=2))
def test_decimals_compare_by_value(amount: object) -> None:
    assert ungrounded(f"${amount}", [f"${amount} a month"]) == []
    assert ungrounded(f"${amount}", [f"€{amount} a month"]) != []
