"""The files of an export, and that they come to their place whole or not at all."""

import csv
import hashlib
import io
import json
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.exporting import check_target, write_export
from domain.errors import BadInputError
from domain.export import Export, Missing, article_path, csv_text, is_export_manifest, json_text

ARTICLE_ID = UUID(int=7)


def export_with(**files: str) -> Export:
    return Export(
        workflow_id=UUID(int=1),
        organization_id=UUID(int=2),
        name="spring",
        state="COMPLETED",
        workflow_version=30,
        as_of=datetime(2026, 3, 5, 9, 30, tzinfo=UTC),
        files={"icp.json": "{}\n", "articles/a.md": "# Ä\n", **files},
        missing=(Missing(path="validation.json", reason="not yet"),),
    )


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- what is in it ---


def test_manifest_has_the_hash_of_every_file_as_it_is_written(tmp_path: Path) -> None:
    write_export(export_with(), tmp_path / "out", force=False)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    for facts in manifest["files"]:
        content = (tmp_path / "out" / facts["path"]).read_bytes()
        assert (facts["bytes"], facts["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert names_in(tmp_path / "out") == ["articles/a.md", "icp.json", "manifest.json"]
    assert manifest["missing"] == [{"path": "validation.json", "reason": "not yet"}]


@pytest.mark.parametrize(
    ("slug", "path"),
    [
        ("accounts-payable", "articles/accounts-payable.md"),
        (None, f"articles/{ARTICLE_ID}.md"),
        ("../../etc/passwd", f"articles/{ARTICLE_ID}.md"),
        ("a/b", f"articles/{ARTICLE_ID}.md"),
        ("", f"articles/{ARTICLE_ID}.md"),
        ("x" * 500, f"articles/{ARTICLE_ID}.md"),
    ],
)
def test_paths_come_from_slugs_and_ids_only(slug: str | None, path: str) -> None:
    assert article_path(slug, ARTICLE_ID, "md") == path


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\tx"])
def test_a_spreadsheet_calculates_nothing(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text(["text"], [{"text": text}])))
    assert row["text"] == f"'{text}"


def test_amounts_stay_amounts() -> None:
    assert csv_text(["cost"], [{"cost": "-0.0042"}]) == "cost\n-0.0042\n"


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\x00\r", exclude_categories=["Cs"]))))
def test_csv_reads_back(texts: list[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(["number", "text"], [{"number": 1, "text": t} for t in texts]))))
    assert [row["text"].removeprefix("'") for row in rows] == [text.removeprefix("'") for text in texts]


# --- writing it ---


def test_what_is_there_is_not_overwritten_without_a_word(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_export(export_with(), target, force=False)
    with pytest.raises(BadInputError, match=r"is there already: add --force"):
        check_target(target, force=False)
    check_target(target, force=True)
    write_export(export_with(**{"new.json": "1\n"}), target, force=True)
    assert names_in(target) == ["articles/a.md", "icp.json", "manifest.json", "new.json"]
    write_export(export_with(), target, force=True)
    assert "new.json" not in names_in(target)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "manifest.json").write_text('{"version": 1}')
    (tmp_path / "file").write_text("text")
    (tmp_path / "other.zip").write_text("no archive")
    for name in ("home", "site", "file", "other.zip"):
        with pytest.raises(BadInputError, match="is no export of ours"):
            check_target(tmp_path / name, force=True)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"


def test_an_empty_folder_may_be_filled_by_force(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    check_target(tmp_path / "out", force=True)
    write_export(export_with(), tmp_path / "out", force=True)
    assert is_export_manifest((tmp_path / "out" / "manifest.json").read_text())


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "loose").symlink_to(tmp_path / "nowhere")
    for name in ("link", "loose"):
        with pytest.raises(BadInputError, match="is a link"):
            check_target(tmp_path / name, force=True)


def test_an_archive_is_the_same_for_the_same_state(tmp_path: Path) -> None:
    for name in ("a.zip", "b.ZIP"):
        write_export(export_with(), tmp_path / name, force=False)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.ZIP").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "articles/a.md", "icp.json"]
        assert archive.read("articles/a.md").decode() == "# Ä\n"
    check_target(tmp_path / "a.zip", force=True)
    write_export(export_with(), tmp_path / "a.zip", force=True)


def test_where_nothing_can_be_written_one_line_says_so_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match=r"can't write .*name another place") as refused:
        write_export(export_with(), tmp_path / "file" / "below" / "out", force=False)
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_on_the_way_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    write_export(export_with(), target, force=False)
    written = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "icp.json":
            raise OSError(28, os.strerror(28), str(path))
        return written(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadInputError, match="No space left"):
        write_export(export_with(**{"icp.json": "other"}), target, force=True)
    assert (target / "icp.json").read_text() == "{}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_of_two_writers_without_force_one_wins(tmp_path: Path) -> None:
    for name in ("out", "out.zip"):
        write_export(export_with(), tmp_path / name, force=False)
        with pytest.raises(BadInputError, match="can't write"):
            write_export(export_with(), tmp_path / name, force=False)


def test_json_keeps_letters_as_they_are() -> None:
    assert json_text({"name": "Café"}) == '{\n  "name": "Café"\n}\n'
