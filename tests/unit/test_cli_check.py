"""``starter.py check`` from outside: exit codes, lines, JSON, and that it needs neither server nor network."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import starter
from tests.unit.quality.test_article_file import CLEAN

BROKEN = CLEAN.replace("## Feed the starter", "#### Feed the starter")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFIN8_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("INFIN8_POSTGRES_DSN", "postgresql://nobody@127.0.0.1:1/none")


def check(*arguments: str) -> Result:
    return CliRunner().invoke(starter.app, ["check", *arguments])


def file(name: str, text: str | bytes) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return name


def objects(*arguments: str, code: int) -> dict[str, Any]:
    result = check(*arguments, "--json")
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_clean_file_ends_with_0() -> None:
    result = check(file("a.md", CLEAN))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("a.md · passes · ")
    assert "not checked: " in result.stdout


def test_warning_ends_with_0_and_a_block_with_4() -> None:
    warned = CLEAN.replace("## Feed the starter\n", "")
    assert check(file("a.md", warned)).exit_code == 0
    assert check(file("b.md", BROKEN)).exit_code == 4
    assert check("a.md", "b.md").exit_code == 4


def test_line_code_excerpt_and_fix_are_told() -> None:
    lines = check(file("a.md", BROKEN)).stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if "heading_skipped" in line)
    assert lines[place].split()[:4] == ["BLOCK", "line", "16", "heading_skipped"]
    assert lines[place + 1].split("│")[1].strip() == "#### Feed the starter"
    assert lines[place + 2].split("→")[1].strip() == "make it an H3"
    assert lines[place + 1].index("│") == lines[place + 2].index("→")


def test_columns_line_up() -> None:
    text = BROKEN.replace("title: How", "title: H").replace("Order by", "[x](gone.md) by")
    heads = [line for line in check(file("a.md", text)).stdout.splitlines() if line.startswith(("  BLOCK", "  WARN"))]
    assert len(heads) >= 2
    assert len({len(line) - len(line[18:].lstrip()) for line in heads}) == 1


def test_json_has_places_and_figures() -> None:
    found = objects(file("a.md", BROKEN), code=4)
    assert found["level"] == "block"
    (report,) = found["files"]
    finding = report["findings"][0]
    assert (finding["code"], finding["level"], finding["line"]) == ("heading_skipped", "block", 16)
    assert BROKEN[finding["start"] : finding["end"]] == finding["excerpt"] == "#### Feed the starter"
    assert report["figures"]["sections"] == 3
    assert report["not_checked"]


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("gone.md", None, 3, "gone.md does not exist"),
        ("empty.md", b"", 2, "empty.md is empty"),
        ("binary.md", bytes(range(256)), 2, "binary.md is no text"),
        ("latin.md", b"# caf\xe9\n", 2, "latin.md is not in UTF-8 (line 1)"),
        ("folder", "", 2, "folder is a folder"),
    ],
)
def test_file_that_can_not_be_read_is_one_line(name: str, content: bytes | str | None, code: int, said: str) -> None:
    if isinstance(content, bytes):
        file(name, content)
    elif content is not None:
        Path(name).mkdir()
    result = check(file("good.md", CLEAN), name)
    assert result.exit_code == code
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert said in line


def test_error_is_an_object_under_json() -> None:
    result = check("gone.md", "--json")
    assert json.loads(result.stderr)["error"] == "NotFoundError"


def test_links_lead_to_files_beside_it() -> None:
    file("shop/oven.html", "<h1>x</h1>")
    file("index.md", "# x\n")
    links = "[a](oven.html) [b](oven) [c](oven.md#x) [d](../index.md) [e](gone.html)"
    found = objects(file("shop/a.md", CLEAN.replace("Order by", f"{links} by")), code=4)
    assert [one["excerpt"] for one in found["files"][0]["findings"]] == ["gone.html"]


def test_paths_from_the_root_need_the_sites_folder() -> None:
    file("site/oven/index.html", "<h1>x</h1>")
    name = file("a.md", CLEAN.replace("Order by", "[a](/oven/) [b](/gone) by"))
    codes = [one["code"] for one in objects(name, code=0)["files"][0]["findings"]]
    assert codes == ["link_unchecked", "link_unchecked"]
    (finding,) = objects(name, "--site", "site", code=4)["files"][0]["findings"]
    assert (finding["code"], finding["excerpt"]) == ("link_unresolved", "/gone")
    assert check(name, "--site", "nowhere").exit_code == 3


def test_numbers_are_held_against_the_source() -> None:
    source = file(
        "source.html", f"<h1>Bakeries</h1><p>They save 37% of the flour, “every single night”.</p><p>{CLEAN}</p>"
    )
    good = file("a.md", CLEAN.replace("Order by", "They save 37% of the flour, “every single night”. Order by"))
    assert check(good, "--source", source).exit_code == 0
    bad = file("b.md", CLEAN.replace("Order by", "They save 38% of the flour. Order by"))
    codes = [one["code"] for one in objects(bad, "--source", source, code=4)["files"][0]["findings"]]
    assert codes == ["number_not_in_source"]


def test_keyword_terms_and_phrases_come_from_the_options() -> None:
    name = file("a.md", CLEAN.replace("Order by", "Truly artisan magic. Order by"))
    found = objects(name, "--keyword", "oven", "--term", "violin", "--banned", "artisan magic", code=4)
    assert {one["code"] for one in found["files"][0]["findings"]} == {"terms_uncovered", "banned_phrase"}
    assert found["files"][0]["figures"]["keyword_density"] > 0.02


def test_brief_brings_its_banned_phrases() -> None:
    brief = Path(starter.__file__).parent / "briefs" / "harborline.yaml"
    phrase = (
        next(line for line in brief.read_text().splitlines() if "banned_phrases" in line).split("[")[1].split(",")[0]
    )
    name = file("a.md", CLEAN.replace("Order by", f"A {phrase.strip(' ]')} it is. Order by"))
    codes = [one["code"] for one in objects(name, "--brief", str(brief), code=4)["files"][0]["findings"]]
    assert codes == ["banned_phrase"]


def test_several_files_are_compared() -> None:
    result = check(file("a.md", CLEAN), file("b.md", CLEAN))
    assert result.exit_code == 4
    assert "near_duplicate" in result.stdout
    assert result.stdout.splitlines()[-1] == "2 files, 2 blocked"
