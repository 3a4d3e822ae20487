import pytest

from domain.article import SectionContent
from domain.assembly import Document
from domain.quality import check
from domain.quality.metadata import title_pixels
from domain.quality.readability import flesch, long_sentences_share, syllables
from domain.settings import ArticleSettings
from domain.verdict import Level
from tests.unit.quality.samples import HUB, paragraph


def warnings_in(document: Document) -> set[str]:
    verdict = check(
        document,
        brief=HUB.brief,
        plan=HUB.plan,
        terms=HUB.terms,
        passages=HUB.passages,
        sibling_documents=(),
        settings=ArticleSettings(),
    )
    return {reason.code for reason in verdict.reasons if reason.level is Level.WARN}


def warnings_of(**changes: object) -> set[str]:
    return warnings_in(HUB.document().model_copy(update=changes))


def with_text(text: str) -> tuple[SectionContent, ...]:
    first = SectionContent(blocks=(*HUB.contents[0].blocks, paragraph(text, 1)))
    return (first, *HUB.contents[1:])


def codes(contents: tuple[SectionContent, ...]) -> set[str]:
    return warnings_in(HUB.document(contents))


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("cat", 1),
        ("invoice", 2),
        ("supplier", 3),
        ("matched", 1),
        ("created", 3),
        ("table", 2),
        ("automation", 4),
        ("the", 1),
        ("queue", 1),
        ("employee", 3),
        ("2024", 1),
    ],
)
def test_syllables(word: str, count: int) -> None:
    assert syllables(word) == count


def test_flesch_falls_as_sentences_and_words_grow() -> None:
    easy = "The cat sat on the mat. It was warm. The sun was out."
    hard = "Organizational considerations necessitate comprehensive interdepartmental implementation coordination."
    assert flesch(easy) > 100
    assert flesch(hard) < 0
    assert flesch("") == 0.0


def test_flesch_of_a_known_figure() -> None:
    text = "The dog ran to the old red barn. Then it sat under a table."  # 2 sentences, 14 words, 16 syllables
    assert flesch(text) == pytest.approx(206.835 - 1.015 * 14 / 2 - 84.6 * 16 / 14)


def test_titles_are_measured_in_pixels() -> None:
    assert title_pixels("iiii") < title_pixels("aaaa") < title_pixels("WWWW")
    assert 400 <= title_pixels("Accounts Payable Automation for Distributors") <= 600


def test_share_of_long_sentences() -> None:
    assert long_sentences_share("Short one. Many " + "word " * 25 + "end.") == 0.5
    assert long_sentences_share("") == 0.0


def test_clean_article_is_told_nothing() -> None:
    assert warnings_of() == set()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"meta_title": "Short"}, "meta_title_width"),
        ({"meta_title": "Wide " * 20}, "meta_title_width"),
        ({"meta_description": "Too short to fill the line."}, "meta_description_length"),
        ({"meta_description": "long " * 40}, "meta_description_length"),
        ({"references": ()}, "sources_few"),
    ],
)
def test_metadata_out_of_bounds_is_told(changes: dict[str, object], code: str) -> None:
    assert code in warnings_of(**changes)


def test_too_few_sections_are_told() -> None:
    outline = HUB.outline.model_copy(update={"sections": HUB.outline.sections[:3]})
    assert "section_count" in warnings_in(HUB.document(HUB.contents[:3], outline))


def test_long_paragraph_and_section_are_told() -> None:
    text = "It is a short one. " * 61
    assert codes(with_text(text)) >= {"paragraph_long", "section_long"}


def test_long_sentences_and_hard_words_are_told() -> None:
    sentence = "Organizational considerations " * 12 + "notwithstanding. "
    assert codes(with_text(sentence * 12)) >= {"sentences_long", "reading_ease"}


def test_ease_is_measured_for_english_only() -> None:
    hard = HUB.document(with_text("Organizational considerations notwithstanding. " * 40))
    german = hard.model_copy(update={"locale": "de-DE"})
    assert "reading_ease" in warnings_in(hard)
    assert "reading_ease" not in warnings_in(german)
