"""The review's commands against a real run: files, screen, two reviewers, history, what waits."""

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from textual import events
from textual.widgets import Static

from commands import keyword_history, reading, reviewing, showing, waiting
from commands.exits import CommandError, ExitCode
from commands.review_files import draft_path, kept_draft
from commands.review_screen import ReviewScreen
from commands.reviewing import ReviewFlags, Sent
from commands.selection import Mark, Selection
from commands.session import Session
from commands.terminal import Terminal
from domain.errors import BadInputError
from domain.states import State
from tests.workflows.conftest import Pipeline, Run


class Reviewer:
    """Somebody at a command line of their own."""

    def __init__(self, run: Run, name: str) -> None:
        pipeline = run.pipeline
        settings = pipeline.settings.model_copy(
            update={"postgres_operator_dsn": SecretStr(pipeline.database.operator_dsn)}
        )
        self.session = Session(settings, Terminal(as_json=True), name)
        self.id = str(run.ref.workflow_id)

    async def decides(self, **flags: Any) -> ExitCode:
        return await reviewing.review(self.session, self.id, ReviewFlags(**flags))

    async def shown(self) -> reviewing.Shown:
        found = await self.session.find(self.id)
        return await reviewing._shown(self.session, found, await reviewing.record_of(self.session, found))


@pytest_asyncio.fixture
async def run(pipeline: Pipeline) -> Run:
    """A run that waits for its review."""
    run = await pipeline.begin(auto_approve=False)
    await run.reaches(State.SEED_REVIEW_PENDING)
    return run


@pytest_asyncio.fixture
async def anna(run: Run) -> AsyncIterator[Reviewer]:
    reviewer = Reviewer(run, "anna")
    async with reviewer.session:
        yield reviewer


@pytest_asyncio.fixture
async def bert(run: Run) -> AsyncIterator[Reviewer]:
    reviewer = Reviewer(run, "bert")
    async with reviewer.session:
        yield reviewer


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


async def test_a_file_out_and_in_and_who_comes_late_is_told(
    run: Run, anna: Reviewer, bert: Reviewer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = tmp_path / "list.csv", tmp_path / "other.json"
    await reviewing.export(anna.session, anna.id, path)
    await reviewing.export(bert.session, bert.id, other)
    path.write_text("my decisions", encoding="utf-8")
    with pytest.raises(BadInputError, match="is there already and may hold your decisions: choose another name"):
        await reviewing.export(anna.session, anna.id, path)
    assert path.read_text(encoding="utf-8") == "my decisions"
    await reviewing.export(anna.session, anna.id, path, is_forced=True)
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    for row in rows[3:]:
        row["decision"] = "no"
    rows[3]["note"] = "not ours"
    rows.append({"text": "supplier portal", "decision": ""})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=";")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8-sig")
    capsys.readouterr()
    assert await anna.decides(file=path) is ExitCode.DONE
    told = printed(capsys)
    assert (told["approved"], told["dropped"], told["added"]) == (3, len(rows) - 4, 1)

    with pytest.raises(CommandError) as late:
        await bert.decides(file=other)
    assert late.value.exit_code is ExitCode.CONFLICT
    assert "anna decided at" in str(late.value)
    assert "Nothing of yours was applied" in str(late.value)
    assert late.value.facts["decided_by"] == "anna"
    assert late.value.facts["approved"] == 4
    assert late.value.facts["expected_state"] == State.SEED_REVIEW_PENDING

    await keyword_history.show_keyword_history(bert.session, bert.id)
    history = {one["text"]: one["history"] for one in printed(capsys)}
    (line,) = history[rows[3]["text"]]
    assert (line["decision"], line["decided_by"], line["note"]) == ("dropped", "anna", "not ours")
    await showing.show(bert.session, bert.id, showing.Topic.KEYWORDS)
    assert all(one["history"][0]["decided_by"] == "anna" for one in printed(capsys))


async def test_an_export_from_before_a_rejection_is_refused(
    run: Run, anna: Reviewer, bert: Reviewer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "list.json"
    await reviewing.export(bert.session, bert.id, path)
    await anna.decides(reject="no pricing", drop=["1"])
    await run.reaches(State.SEED_REVIEW_PENDING)
    with pytest.raises(CommandError, match=r"export it again with .*, to another name") as stale:
        await bert.decides(file=path)
    assert stale.value.exit_code is ExitCode.CONFLICT
    assert "anna rejected the list at" in str(stale.value)
    path.write_text(path.read_text().replace(bert.id, "00000000-0000-0000-0000-000000000000"))
    with pytest.raises(BadInputError, match="is an export of workflow 0000"):
        await bert.decides(file=path)
    lines = reviewing.before_lines(await bert.shown())
    assert "anna rejected the list before" in lines[0]
    assert "no pricing" in lines[0]
    assert "leaves out “pricing”" in lines[1]
    assert "4 more times" in lines[2]
    capsys.readouterr()
    await reviewing.review(bert.session, bert.id, ReviewFlags())
    assert printed(capsys)["rejections"][0]["feedback"] == "no pricing"


async def test_the_screen_sends_and_the_loser_keeps_the_draft(
    run: Run, anna: Reviewer, bert: Reviewer, tmp_path: Path
) -> None:
    shown = await bert.shown()
    selection = Selection(shown.keywords, shown.settings)
    draft = draft_path(tmp_path, run.ref.workflow_id, shown.record.version, "bert")
    losing = ReviewScreen(reviewing._review_of(bert.session, shown, selection, draft))
    async with losing.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "a", "d")
        theirs = await anna.shown()
        chosen = Selection(theirs.keywords, theirs.settings)
        winning = ReviewScreen(reviewing._review_of(anna.session, theirs, chosen, draft.with_name("anna.json")))
        async with winning.run_test(size=(80, 24)) as winner:
            await winner.press("a", "a", "a", "s", "d")
            await winning.workers.wait_for_complete()
        left = winning.return_value
        assert left is not None
        assert isinstance(left.sent, Sent)
        assert left.sent.counts.approved == 3
        await pilot.press("s", "d")
        await losing.workers.wait_for_complete()
        await pilot.pause()
        asked = " ".join(str(losing.query_one("#asked", Static).render()).split())
        assert "anna decided at" in asked
        assert selection.tally().approved == 2
        mine = tmp_path / "mine.csv"
        await pilot.press("escape", "w", "ctrl+u")
        losing.post_message(events.Paste(str(mine)))
        await pilot.press("enter")
        assert "approve" in mine.read_text(encoding="utf-8-sig")
    kept = kept_draft(draft)
    assert kept is not None
    assert list(kept.marks.values()) == [Mark.APPROVED, Mark.APPROVED, Mark.DROPPED]


async def test_what_waits_is_listed_with_its_age(run: Run, anna: Reviewer, capsys: pytest.CaptureFixture[str]) -> None:
    await waiting.list_waiting(anna.session, 10)
    (one,) = printed(capsys)
    assert one["waiting_for"] == "review"
    assert one["reminders"] == 0
    assert one["waiting_seconds"] >= 0
    assert one["next_command"] == f"starter.py review {run.ref.workflow_id}"
    await reading.list_(anna.session, 10)
    assert printed(capsys)[0]["waiting_since"] == one["waiting_since"]
    await reading.status(anna.session, anna.id)
    status = printed(capsys)
    assert (status["waiting_since"], status["reminders"]) == (one["waiting_since"], 0)
    await anna.decides(approve_all=True)
    capsys.readouterr()
    await waiting.list_waiting(anna.session, 10)
    assert printed(capsys) == []


async def test_flags_that_can_not_be_followed(anna: Reviewer) -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"reject": "no", "approve": ["1"]}, "approves nothing"),
        ({"note": ["1"]}, "WHICH=TEXT"),
        ({"note": ["99=x"]}, "note names '99'"),
        ({"approve_all": True, "undecided": "drop"}, "give --file"),
        ({"file": Path("x"), "undecided": "maybe"}, "'maybe': it must be approve or drop"),
        ({"file": Path("x"), "drop": ["1"]}, "exclude each other"),
        ({"approve": ["1"]}, "1 keyword would be approved"),
    ]
    for flags, message in refused:
        with pytest.raises(BadInputError, match=message):
            await anna.decides(**flags)
