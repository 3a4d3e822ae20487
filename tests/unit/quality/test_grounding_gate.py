"""The gate on truth: what is invented blocks with its place and a fix, what is thin is told, faithful text passes."""

import json
from collections.abc import Sequence

import pytest

from domain.article import Block, BlockKind, SectionContent
from domain.assembly import Document
from domain.pages import Passage
from domain.quality.grounding import GroundingReport, ground
from domain.verdict import Level
from tests.unit.quality.samples import SAMPLES, Sample

NAMES = sorted(SAMPLES)
PASSAGES = (
    Passage(
        number=1,
        url="https://payloom.example/prices",
        text="The starter plan costs $49 a month for ten users. Support answers within 2 hours. It does not pay "
        "suppliers.",
    ),
    Passage(
        number=2,
        url="https://approvio.example/",
        text="An approval takes 9 days on average. “We hate waiting,” says the founder.",
    ),
)
SAMPLE = SAMPLES[NAMES[0]]


def report(*blocks: Block, title: str | None = None, heading: str | None = None) -> GroundingReport:
    """One section of these blocks in the place of the sample's first, its passages replaced by those above."""
    document = SAMPLE.document()
    first = document.sections[0].model_copy(
        update={"content": SectionContent(blocks=blocks), "heading": heading or "What it costs"}
    )
    changed = document.model_copy(update={"sections": (first,), "title": title or "Prices of approval software"})
    changed = changed.model_copy(update={"meta_description": "What approval software costs and how it is bought."})
    return ground(changed, SAMPLE.plan, PASSAGES, brief=SAMPLE.brief)


def paragraph(text: str, *passages: int) -> Block:
    return Block(kind=BlockKind.PARAGRAPH, text=text, passages=passages)


def listed(text: str, items: Sequence[str], *passages: int) -> Block:
    return Block(kind=BlockKind.LIST, text=text, items=tuple(items), passages=passages)


def blocks_with(found: GroundingReport) -> list[tuple[str, str | None]]:
    return [(reason.code, reason.subject) for reason in found.reasons if reason.level is Level.BLOCK]


@pytest.mark.parametrize("name", NAMES)
def test_a_faithful_article_is_not_blocked(name: str) -> None:
    sample: Sample = SAMPLES[name]
    document: Document = sample.document()
    assert blocks_with(ground(document, sample.plan, sample.passages, brief=sample.brief)) == []


def test_a_block_that_says_what_it_cites_passes_whole() -> None:
    found = report(
        paragraph("Payloom's starter plan costs $49 a month for ten users, and support answers within two hours.", 1),
        paragraph(
            "According to Approvio, an approval takes 9 days on average. “We hate waiting,” its founder says.", 2
        ),
    )
    assert found.reasons == ()
    assert found.coverage == 1
    assert found.values()["claims"] == 3


@pytest.mark.parametrize(
    ("block", "code", "text"),
    [
        (paragraph("The starter plan costs $59 a month for ten users.", 1), "number_not_in_source", "$59"),
        (paragraph("The starter plan costs $49 a month for ten users.", 2), "number_not_in_source", "$49"),
        (paragraph("The starter plan costs $49 a month for ten users."), "number_not_in_source", "$49"),
        (listed("It is quick:", ["Support answers within 3 hours."], 1), "number_not_in_source", "3"),
        (paragraph("“We love waiting,” says the founder.", 2), "quotation_not_in_source", "“We love waiting,”"),
        (paragraph("According to Gartner, it is cheap.", 1), "reference_not_in_source", "Gartner"),
    ],
)
def test_an_invention_blocks_with_its_place_and_a_fix(block: Block, code: str, text: str) -> None:
    found = report(paragraph("An approval takes 9 days on average.", 2), block)
    assert blocks_with(found) == [(code, "section:1")]
    (span,) = found.spans
    assert (span.section, span.block, span.claim.text) == (1, 1, text)
    assert block.texts[span.text_index][span.claim.start : span.claim.end] == text
    assert span.claim.fix
    assert text in next(reason.message for reason in found.reasons if reason.code == code)


def test_a_passage_outside_of_the_pool_is_caught() -> None:
    assert ("citation_unknown", "section:1") in blocks_with(report(paragraph("An approval takes 9 days.", 2, 77)))


def test_a_list_and_its_heading_may_count_their_items() -> None:
    items = ["Ask for the price.", "Ask for support.", "Ask for a trial.", "Ask for references.", "Ask for an exit."]
    found = report(
        listed("Here are 5 questions to ask:", items, 1), heading="5 questions to ask", title="5 questions on prices"
    )
    assert blocks_with(found) == []
    wrong = report(
        listed("Here are 6 questions to ask:", items, 1), heading="7 questions to ask", title="8 questions on prices"
    )
    assert blocks_with(wrong) == [
        ("number_not_in_source", "section:1"),
        ("number_not_in_source", None),
        ("number_not_in_source", "section:1"),
    ]


def test_what_turns_its_source_round_is_told() -> None:
    found = report(paragraph("The starter plan does pay suppliers, and support never answers within 2 hours.", 1))
    (told,) = [reason for reason in found.reasons if reason.code == "claim_contradicted"]
    assert (told.level, told.subject) == (Level.WARN, "section:1")


def test_thin_claims_are_told_with_what_they_lack() -> None:
    found = report(
        paragraph("Most manufacturers still keep paper records of their machines.", 1),
        paragraph("Container ships burn less fuel when crews trim them well.", 2),
        paragraph("An approval takes 9 days on average.", 2),
    )
    assert found.coverage == pytest.approx(1 / 3)
    (told,) = found.reasons
    assert (told.code, told.level) == ("claims_uncovered", Level.WARN)
    assert "Only 0.33 of the 3 claims" in told.message
    assert "manufacturers" in told.message
    weakest = found.values()["claims_weakest"]
    assert {one["text"] for one in weakest} == {claim.text for claim in found.claims if not claim.is_supported}
    assert all(one["missing"] for one in weakest)
    assert json.loads(json.dumps(found.values())) == found.values()
