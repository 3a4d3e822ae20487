"""The review's screen, driven by keys as a person would, with 300 keywords and without a server."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from commands.exits import conflict
from commands.review_screen import HELP, Left, Review, ReviewScreen
from commands.selection import Decisions, Line, Mark, Selection
from db.keywords import KeywordRow
from domain.errors import BadInputError
from domain.seed_review import Rejection, SeedDecision, SeedDecisionKind
from domain.settings import SeedReviewSettings

HEADS = ("invoice", "supplier", "payment", "approval", "purchase order", "expense")
TAILS = ("automation", "portal", "software", "checklist", "template")


def rows(count: int = 300) -> list[KeywordRow]:
    return [
        KeywordRow(
            position=number,
            text=f"{HEADS[number % len(HEADS)]} {TAILS[number % len(TAILS)]} {number}",
            score=count - number,
            volume=None if number % 3 == 0 else number * 10,
            difficulty=number % 90,
            cpc_usd=None,
            intent=("commercial", "informational")[number % 2],
            sources=[{"url": f"https://site{page}.example/{number}"} for page in range(number % 4 + 1)],
        )
        for number in range(1, count + 1)
    ]


@dataclass
class World:
    """What the screen does to it."""

    sent: list[SeedDecision] = field(default_factory=list)
    kept: list[Decisions] = field(default_factory=list)
    written: list[tuple[str, Sequence[Line]]] = field(default_factory=list)
    refusal: Exception | None = None
    decided: str | None = None

    async def send(self, decision: SeedDecision) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append(decision)
        return "sent"

    async def decided_meanwhile(self) -> str | None:
        return self.decided

    def write(self, path: str, lines: Sequence[Line]) -> str:
        if path == "/":
            raise BadInputError("/ can't be written: Is a directory", "export")
        self.written.append((path, lines))
        return f"written to {path}"


def screen(world: World, shown: Sequence[KeywordRow] | None = None, **facts: Any) -> ReviewScreen:
    selection = Selection(shown or rows(), SeedReviewSettings(), new=facts.pop("new", ()))
    return ReviewScreen(
        Review(
            title="Seed review · Harborline · spring",
            selection=selection,
            send=world.send,
            decided_meanwhile=world.decided_meanwhile,
            keep=world.kept.append,
            write=world.write,
            file_name="keywords.csv",
            **facts,
        )
    )


def said(app: ReviewScreen, name: str) -> str:
    return str(app.query_one(f"#{name}", Static).render())


def texts(app: ReviewScreen) -> list[str]:
    """The numbers of the rows, in the order in which they stand."""
    table = app.query_one(DataTable)
    return [str(table.get_row_at(row)[1]) for row in range(table.row_count)]


def marks(app: ReviewScreen) -> str:
    table = app.query_one(DataTable)
    return "".join(str(table.get_row_at(row)[0]) for row in range(table.row_count))


async def typed(pilot: Pilot[Left], text: str) -> None:
    await pilot.press(*["space" if character == " " else character for character in text])


async def test_one_key_a_keyword_and_everything_is_counted() -> None:
    world = World()
    app = screen(world)
    async with app.run_test(size=(80, 24)) as pilot:
        assert "shown 300 of 300" in said(app, "counts")
        await pilot.press("a", "a", "d", "down", "space", "up", "up", "u")
        assert marks(app)[:6] == "✔✔··✔·"
        await pilot.press("d", "end", "a", "home", "k")
        assert marks(app)[299] == "✔"
        counts = said(app, "counts")
        assert "approved 4" in counts
        assert "dropped 1" in counts
        assert "undecided 295" in counts
        assert world.kept[-1] == app._selection.now


async def test_filter_while_typing_then_all_that_fits() -> None:
    world = World()
    app = screen(world)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("slash")
        await typed(pilot, "supplier volume<500")
        assert "shown" in said(app, "counts")
        shown = texts(app)
        assert shown
        assert all(int(number) * 10 < 500 and int(number) % 3 for number in shown)
        await pilot.press("enter", "D")
        assert set(marks(app)) == {"✘"}
        await pilot.press("escape")
        assert len(texts(app)) == 300
        assert f"dropped {len(shown)}" in said(app, "counts")
        await pilot.press("slash", *"is", "colon", *"und", "down", "A")
        assert texts(app) == []
        assert "too many: 2-100" in said(app, "counts")
        await pilot.press("escape", "z", "z")
        assert "undecided 300" in said(app, "counts")
        await pilot.press("y")
        assert f"dropped {len(shown)}" in said(app, "counts")


async def test_keys_that_come_at_once_are_taken_in_order() -> None:
    app = screen(World())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", *"supplier", "enter", "D", "escape", "down", "a", "plus", *"own", "enter", "n")
        assert app._selection.now.own == ("own",)
        assert app._selection.tally().dropped == 50


async def test_orders_by_every_column_and_keeps_the_cursor() -> None:
    app = screen(World(), rows(40))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("5")
        assert texts(app)[:2] == ["40", "38"]
        await pilot.press("5")
        assert texts(app)[:2] == ["1", "2"]
        assert texts(app)[-1] == "39"
        await pilot.press("home", "down", "down", "O")
        table = app.query_one(DataTable)
        assert str(table.get_row_at(table.cursor_row)[1]) == "4"
        for key in "12346780":
            await pilot.press(key)
            assert len(texts(app)) == 40
        for _ in range(10):
            await pilot.press("o")
            assert len(texts(app)) == 40


async def test_drops_by_volume_and_leaves_what_has_none() -> None:
    app = screen(World(), rows(30))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("v", *"1x")
        assert "a number" in said(app, "asked")
        await pilot.press("backspace", *"00")
        assert "drops 6 of 30 shown; 10 without a figure stay" in said(app, "asked")
        await pilot.press("enter")
        assert app._selection.tally().dropped == 6
        await pilot.press("v", *"abc", "enter")
        assert "'abc' is no number" in said(app, "said")


async def test_own_keywords_and_notes() -> None:
    app = screen(World(), rows(5))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("plus")
        await typed(pilot, "Invoice Automation 30")
        await pilot.press("enter")
        assert app._selection.now.own == ("invoice automation 30",)
        await pilot.press("plus", *"...", "enter")
        assert "at least one word" in said(app, "said")
        await pilot.press("d")
        assert app._selection.now.own == ()
        await pilot.press("home", "n")
        await typed(pilot, "too broad")
        await pilot.press("enter")
        assert list(app._selection.now.notes.values()) == ["too broad"]
        assert "note: too broad" in said(app, "about")


async def test_details_show_every_source_and_why_it_is_flagged() -> None:
    shown = [
        rows(1)[0].model_copy(
            update={
                "flag": "named as wrong: no",
                "decision": "dropped",
                "decided_by": "anna",
                "decided_at": datetime(2025, 3, 1, tzinfo=UTC),
                "sources": [{"url": f"https://site.example/[bold]{number}"} for number in range(20)],
            }
        ),
        rows(2)[1],
    ]
    app = screen(World(), shown, new={shown[0].text})
    async with app.run_test(size=(160, 40)) as pilot:
        about = said(app, "about")
        assert "https://site.example/[bold]19" in about
        assert "! named as wrong: no" in about
        assert "* new since the last review" in about
        assert "dropped by anna" in about
        await pilot.press("enter")
        assert app.query_one("#details").has_class("hidden")


async def test_nothing_is_sent_unasked_and_everything_is_named() -> None:
    world = World()
    app = screen(world, rows(6))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "s")
        assert "drop the undecided: can't be done, 1 keyword would be approved: 2 to 100" in " ".join(
            said(app, "asked").split()
        )
        await pilot.press("d", "escape", "a", "d", "s", "escape")
        assert world.sent == []
        await pilot.press("s", "d")
        await pilot.pause()
    (decision,) = world.sent
    names = [row.text for row in rows(6)]
    assert (decision.approve, decision.drop) == (tuple(names[:2]), tuple(names[2:]))
    assert app.return_value == Left(sent="sent")


async def test_too_many_can_not_be_sent() -> None:
    world = World()
    app = screen(world)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("A", "s")
        assert "300 keywords would be approved: 2 to 100 are needed" in " ".join(said(app, "asked").split())
        await pilot.press("y", "escape")
    assert world.sent == []


async def test_a_list_is_rejected_with_words_that_are_read_back() -> None:
    world = World()
    before = Rejection(actor="anna", at=datetime.now(UTC), feedback="avoid templates", shown=())
    app = screen(world, rows(6), rejections=(before,), before=("anna rejected the list before",))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "anna rejected" in said(app, "before")
        await pilot.press("d", "r", "enter")
        assert "feedback is empty" in said(app, "said")
        await pilot.press("r")
        await typed(pilot, "no payroll, more about discounts")
        hint = " ".join(said(app, "asked").split())
        assert "leaves out “templates”, “payroll”" in hint
        assert "puts “discounts” first" in hint
        await pilot.press("enter", "y")
        await pilot.pause()
    (decision,) = world.sent
    assert decision.kind is SeedDecisionKind.REJECT
    assert decision.feedback == "no payroll, more about discounts"
    assert decision.drop == (rows(1)[0].text,)


async def test_who_was_faster_is_told_and_the_draft_stays() -> None:
    world = World(refusal=conflict("anna decided at 12:03: 4 of 6 approved. Nothing of yours was applied"))
    app = screen(world, rows(6))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "a", "a", "D")
        world.decided = "anna decided at 12:03: 4 of 6 approved, 2 dropped."
        await pilot.press("z", "s", "d")
        await pilot.pause()
        assert "anna decided at 12:03" in said(app, "asked")
        assert "Your draft stays here" in said(app, "notice")
        assert app._selection.tally().approved == 3
        await pilot.press("escape", "w", "ctrl+u", *"mine.json", "enter")
        assert world.written[0][0] == "mine.json"
        assert [line.mark for line in world.written[0][1]][:3] == [Mark.APPROVED] * 3
        await pilot.press("w", "ctrl+u", "slash", "enter")
        assert "can't be written" in said(app, "said")
        await pilot.press("q", "k")
    assert app.return_value == Left(is_kept=True)


async def test_leaving_asks_only_when_something_was_decided() -> None:
    app = screen(World(), rows(6))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("q")
        await pilot.pause()
    assert app.return_value == Left()
    app = screen(World(), rows(6))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "q", "escape", "a", "ctrl+c")
        assert "Not sent: 2 approved" in said(app, "asked")
        await pilot.press("t")
        await pilot.pause()
    assert app.return_value == Left()


@pytest.mark.parametrize("size", [(80, 24), (60, 15), (200, 60), (30, 10)])
async def test_any_size_and_resizing(size: tuple[int, int]) -> None:
    app = screen(World())
    async with app.run_test(size=size) as pilot:
        await pilot.press("down", "a", "question_mark")
        assert HELP.splitlines()[0] in said(app, "asked")
        await pilot.press("escape")
        for width, height in ((150, 40), (80, 24), (40, 12)):
            await pilot.resize_terminal(width, height)
            await pilot.press("a")
        assert app._selection.tally().approved == 4
        assert app.query_one(DataTable).cursor_row == 5


async def test_without_colours_the_signs_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = screen(World(), rows(6))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "d")
        assert app.no_color
        assert marks(app) == "✔✘····"


async def test_a_disk_that_is_full_is_said_and_stops_nothing() -> None:
    def full(_: Decisions) -> None:
        raise OSError(28, "No space left on device")

    world = World()
    review = screen(world, rows(6))._review
    app = ReviewScreen(Review(**{**review.__dict__, "keep": full}))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a")
        assert "can't be kept: No space left" in said(app, "said")
        assert app._selection.tally().approved == 1


async def test_three_hundred_keywords_one_by_one_are_no_work() -> None:
    """Every keyword decided by its own key, typed ahead; a bound far above what it takes on a loaded machine."""
    world = World()
    app = screen(world)
    async with app.run_test(size=(80, 24)) as pilot:
        began = time.perf_counter()
        for key in ("d", "a", "d") * 100:
            app.post_message(events.Key(key, key))
        await pilot.press("o")
        seconds = time.perf_counter() - began
        assert "approved 100" in said(app, "counts")
        assert "dropped 200" in said(app, "counts")
        await pilot.press("s", "y")
        await pilot.pause()
    assert len(world.sent[0].approve) == 100
    assert seconds < 20
