"""The standard's rules on pieces of HTML; that other checkers judge the same pieces alike is in ``tests/judges``."""

import pytest

from domain.quality.html_page import read_html
from domain.quality.source import SourceText
from domain.quality.structure import form_findings
from domain.verdict import Level
from tests.judges.broken_pages import BROKEN, SOUND

HTML_CODES = {"html_error", "id_duplicate", "image_alt_missing"}
# What these break is no rule of HTML: the gate on links sees them.
ONLY_LINKS = ("javascript:", 'href=""')
PAGE = (
    '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>A page</title></head>\n<body>\n'
    '<main id="content">\n<h1>Title</h1>\n<h2 id="references">One</h2>\n{}\n</main>\n</body>\n</html>\n'
)


def problems(piece: str) -> list[str]:
    findings = form_findings(read_html(SourceText(PAGE.format(piece))))
    return [one.message for one in findings if one.level is Level.BLOCK and one.code in HTML_CODES]


@pytest.mark.parametrize("piece", [one for one in BROKEN.strip().splitlines() if not any(x in one for x in ONLY_LINKS)])
def test_broken_piece_is_an_error(piece: str) -> None:
    findings = form_findings(read_html(SourceText(PAGE.format(piece))))
    assert [one for one in findings if one.level is Level.BLOCK]


@pytest.mark.parametrize("piece", SOUND.strip().splitlines())
def test_sound_piece_is_none(piece: str) -> None:
    assert problems(piece) == []


def test_whole_page_without_errors_has_none() -> None:
    assert problems("<p>Text</p>") == []


def test_finding_names_the_start_tag() -> None:
    source = SourceText(PAGE.format('<p>x</p>\n<p lang="english!">y</p>'))
    finding = next(one for one in form_findings(read_html(source)) if one.code == "html_error")
    assert finding.excerpt == '<p lang="english!">'
    assert finding.line == 9


def test_custom_elements_and_pictures_have_rules_of_their_own() -> None:
    assert problems('<my-chart data="x" foo="y"><svg foo="z"><made-up/></svg></my-chart>') == []
