"""The seed review as a terminal screen: shows a ``Selection`` and turns keys into its changes. No rule stands here.

Keys are taken one after the other by the screen itself, not by widgets with queues of their own: however fast they
come, each meets what the one before has made. What the screen needs of the world comes as callables (``Review``).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.coordinate import Coordinate
from textual.css.query import NoMatches
from textual.widgets import DataTable, Static

from commands.exits import CommandError
from commands.line_editor import LineEditor
from commands.selection import (
    FALLS_FIRST,
    QUERY_HELP,
    Column,
    Decisions,
    Line,
    Mark,
    Selection,
    found,
    ordered,
    under_volume,
)
from domain.errors import PipelineError
from domain.seed_feedback import Guidance, guidance_of, guidance_words
from domain.seed_review import Rejection, SeedDecision

CHECK_SECONDS = 5.0
WIDE_COLUMNS_MIN = 120
DETAILS_WIDTH_WIDE = 46
SIGNS = {Mark.UNDECIDED: "·", Mark.APPROVED: "✔", Mark.DROPPED: "✘"}
STYLES = {Mark.UNDECIDED: "", Mark.APPROVED: "green", Mark.DROPPED: "red"}
FIGURES_WIDTH = {Column.NUMBER: 3, Column.VOLUME: 7, Column.DIFFICULTY: 5, Column.SCORE: 6, Column.SOURCES: 4}
SHORT_NAMES = {Column.DECISION: "", Column.NUMBER: "#", Column.DIFFICULTY: "diff", Column.SOURCES: "src"}
INTENT_WIDTH, SIGN_WIDTH, TEXT_WIDTH_MIN = 13, 1, 16
INTENT_WIDTH_NARROW = 6
SCROLL_BAR_WIDTH = 2
COLUMNS_SCROLLED = 8
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEYS_WIDE = (
    "a approve  d drop  space switch  / filter  A D U all shown  v by volume  o order  + own  n note  z undo  y redo  "
    "s send  r reject  w write file  ? keys  q leave"
)
KEYS_NARROW = "a approve  d drop  / filter  z undo  s send  r reject  ? all keys  q leave"
HELP = f"""ONE KEYWORD
  ↑ ↓ k j PgUp PgDn Home End   move
  a  approve, and on to the next         d x  drop, and on to the next
  u  undecided again                     space  switch round
  n  note: why it is decided so          enter  details on and off
  [ ]  scroll the details                ← →  scroll a table too wide

EVERYTHING THAT IS SHOWN NOW
  A  approve     D X  drop     U  undecided again
  v  drop what is searched for less often than …

WHAT IS SHOWN
  /  filter while you type; enter or ↓ ends typing, esc shows everything
{chr(10).join("     " + part for part in QUERY_HELP)}
  o  order by the next column            O  the other way round
  1 … 8  order by this column; the same again: the other way round

AND
  +  a keyword of your own               w  write the draft as a file
  z  undo, as often as you like          y  redo
  s  send what is decided
  r  reject: have the search done again with your words
  q  leave; asks when something is decided, and can keep the draft

esc closes this, ↑ ↓ scroll"""


@dataclass(frozen=True)
class Review:
    """A list to decide about, and what the screen may do in the world.

    ``send`` answers with the words of success, or raises CommandError or PipelineError. ``decided_meanwhile`` says who
    decided what while this screen was open. ``keep`` keeps a draft, ``write`` writes a file and says what it wrote.
    """

    title: str
    selection: Selection
    send: Callable[[SeedDecision], Awaitable[Any]]
    decided_meanwhile: Callable[[], Awaitable[str | None]]
    keep: Callable[[Decisions], None]
    write: Callable[[str, Sequence[Line]], str]
    file_name: str
    before: tuple[str, ...] = ()
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class Left:
    """How the screen ended: with what ``send`` answered, or with a draft kept or thrown away."""

    sent: Any = None
    is_kept: bool = False


@dataclass
class Question:
    """Lines, and the keys that answer: each with its words and what it does. Escape does nothing."""

    lines: Sequence[str]
    answers: dict[str, tuple[str, Callable[[], None]]] = field(default_factory=dict)
    is_whole_screen: bool = False

    def text(self) -> str:
        keys = [f"{key}  {words}" for key, (words, _) in self.answers.items()]
        return "\n".join([*self.lines, "", "   ".join([*keys, "esc  back"])])


@dataclass
class Prompt:
    """A line to fill in. ``hint`` says under it what comes of it; ``done`` gets it on enter."""

    label: str
    done: Callable[[str], None]
    editor: LineEditor = field(default_factory=LineEditor)
    hint: Callable[[str], str] | None = None

    def text(self) -> str:
        hints = [self.hint(self.editor.text)] if self.hint else []
        return "\n".join([self.label, f"› {self.editor.shown()}", *hints, "enter  goes on   esc  back"])


class ReviewScreen(App[Left]):
    CSS = """
    #title { text-style: bold; height: 1; }
    #before, #notice { height: auto; max-height: 5; }
    #notice { color: $warning; }
    #query { height: auto; max-height: 2; color: $accent; }
    #body { height: 1fr; layout: vertical; }
    #body.wide { layout: horizontal; }
    DataTable { height: 1fr; width: 1fr; scrollbar-size-horizontal: 0; }
    #details { height: 6; width: 100%; border-top: solid $primary; }
    #body.wide #details { width: 46; height: 100%; border-top: none; border-left: solid $primary; }
    #window { height: auto; max-height: 14; border: round $primary; padding: 0 1; }
    #window.whole { height: 1fr; max-height: 100%; }
    #counts, #said, #keys { height: auto; max-height: 2; }
    #keys { color: $text-muted; }
    .hidden { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = []
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, review: Review) -> None:
        super().__init__()
        self._review = review
        self._selection = review.selection
        self._query = LineEditor()
        self._is_typing = False
        self._asked: Question | Prompt | None = None
        self._column, self._is_falling = Column.NUMBER, False
        self._lines: list[Line] = []
        self._width = 80
        self._decided_meanwhile = ""
        self._shows_details = True
        self._is_sending = False
        self._keys = self._key_table()

    def _key_table(self) -> dict[str, Callable[[], None]]:
        """Keys of the table by textual's names; the same stands in HELP."""
        keys: dict[str, Callable[[], None]] = {}
        for names, act in (
            ("down j", lambda: self._move(1)),
            ("up k", lambda: self._move(-1)),
            ("pagedown ctrl+f", lambda: self._move(self._page_rows())),
            ("pageup ctrl+b", lambda: self._move(-self._page_rows())),
            ("home g", lambda: self._move(-len(self._lines))),
            ("end G", lambda: self._move(len(self._lines))),
            ("a", lambda: self._mark(Mark.APPROVED)),
            ("d x delete", lambda: self._mark(Mark.DROPPED)),
            ("u backspace", lambda: self._mark(Mark.UNDECIDED)),
            ("space", self._switch),
            ("A", lambda: self._mark_all(Mark.APPROVED)),
            ("D X", lambda: self._mark_all(Mark.DROPPED)),
            ("U", lambda: self._mark_all(Mark.UNDECIDED)),
            ("v", self._ask_volume),
            ("slash f", self._begin_typing),
            ("escape", self._unfilter),
            ("o", self._order_next),
            ("O", self._turn_order),
            ("plus", self._ask_own),
            ("n", self._ask_note),
            ("z ctrl+z", lambda: self._changed(self._selection.undo())),
            ("y ctrl+y Z", lambda: self._changed(self._selection.redo())),
            ("enter", self._switch_details),
            ("left", lambda: self._table.scroll_relative(x=-COLUMNS_SCROLLED, animate=False)),
            ("right", lambda: self._table.scroll_relative(x=COLUMNS_SCROLLED, animate=False)),
            ("left_square_bracket", lambda: self._scroll_details(-1)),
            ("right_square_bracket", lambda: self._scroll_details(1)),
            ("w", self._ask_file),
            ("s", self._ask_to_send),
            ("r", self._ask_to_reject),
            ("question_mark f1 h", lambda: self._ask(Question(HELP.splitlines(), is_whole_screen=True))),
            ("q ctrl+q ctrl+c", self._ask_to_leave),
        ):
            keys.update(dict.fromkeys(names.split(), act))
        for number, column in enumerate(Column, start=1):
            keys[str(number)] = partial(self._order_by, column)
        return keys

    # Keys

    async def on_event(self, event: events.Event) -> None:
        """Every key and paste, in the order of typing; all other events as ever."""
        if isinstance(event, events.Key) and self._is_ready():
            self._press(event)
        elif isinstance(event, events.Paste) and self._is_ready():
            self._paste(event.text)
        else:
            await super().on_event(event)

    def _is_ready(self) -> bool:
        try:
            return self.is_running and bool(self._table.columns)
        except NoMatches:
            return False

    def _press(self, event: events.Key) -> None:
        if self._is_sending:
            return
        if self._asked is not None:
            self._answer(self._asked, event)
        elif self._is_typing:
            self._type(event)
        else:
            act = self._keys.get(event.key) or self._keys.get(event.character or "")
            if act is not None:
                act()

    def _paste(self, text: str) -> None:
        if isinstance(self._asked, Prompt):
            self._asked.editor.insert(text)
            self._show_asked()
        elif self._is_typing:
            self._query.insert(text)
            self._show_table(keep=self._current_text())

    def _ask(self, asked: Question | Prompt) -> None:
        self._asked = asked
        self._show_asked()

    def _answer(self, asked: Question | Prompt, event: events.Key) -> None:
        if event.key in ("escape", "ctrl+c"):
            self._close()
        elif isinstance(asked, Prompt):
            if event.key == "enter":
                self._close()
                asked.done(asked.editor.text)
            elif asked.editor.press(event.key, event.character):
                self._show_asked()
        elif (answer := asked.answers.get(event.character or "") or asked.answers.get(event.key)) is not None:
            self._close()
            answer[1]()
        elif event.key in ("up", "down", "pageup", "pagedown"):
            self._window.scroll_relative(y=1 if event.key.endswith("down") else -1, animate=False)

    def _close(self) -> None:
        self._asked = None
        self._show_asked()

    def _show_asked(self) -> None:
        asked = self._asked
        whole = isinstance(asked, Question) and asked.is_whole_screen
        self._window.set_class(asked is None, "hidden")
        self._window.set_class(whole, "whole")
        self.query_one("#body").set_class(whole, "hidden")
        self.query_one("#asked", Static).update("" if asked is None else asked.text())

    def _type(self, event: events.Key) -> None:
        """Into the filter: the table follows at once."""
        if event.key in ("enter", "tab"):
            self._end_typing()
        elif event.key in ("escape", "ctrl+c"):
            self._unfilter()
        elif event.key in ("up", "down"):
            self._end_typing()
            self._move(1 if event.key == "down" else -1)
        elif self._query.press(event.key, event.character):
            self._show_table(keep=self._current_text())

    def _begin_typing(self) -> None:
        self._is_typing = True
        self._show_query()

    def _end_typing(self) -> None:
        self._is_typing = False
        self._show_query()

    def _unfilter(self) -> None:
        self._query, self._is_typing = LineEditor(), False
        self._show_table(keep=self._current_text())

    def _show_query(self) -> None:
        line = self.query_one("#query", Static)
        line.set_class(not (self._is_typing or self._query.text), "hidden")
        hint = f"    {'  '.join(QUERY_HELP[:4])}  …" if self._is_typing and not self._query.text else ""
        shown = self._query.shown() if self._is_typing else self._query.text
        line.update(Text(f"/ {shown}{hint}"))

    # The screen's parts

    def compose(self) -> ComposeResult:
        yield Static(self._review.title, id="title", markup=False)
        yield Static("\n".join(self._review.before), id="before", markup=False)
        yield Static("", id="notice", classes="hidden", markup=False)
        yield Static("", id="query", classes="hidden", markup=False)
        with Vertical(id="body"):
            yield DataTable[Text](cursor_type="row", cell_padding=1)
            with VerticalScroll(id="details", can_focus=False):
                yield Static("", id="about", markup=False)
        with VerticalScroll(id="window", classes="hidden", can_focus=False):
            yield Static("", id="asked", markup=False)
        yield Static("", id="counts", markup=False)
        yield Static("", id="said", markup=False)
        yield Static("", id="keys", markup=False)

    def on_mount(self) -> None:
        self.query_one("#before").set_class(not self._review.before, "hidden")
        self._width = self.size.width
        self._fit()
        self._table.focus()
        self.set_interval(CHECK_SECONDS, self._look_for_others)

    def on_resize(self, event: events.Resize) -> None:
        self._width = event.size.width
        self._fit()

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    @property
    def _window(self) -> VerticalScroll:
        return self.query_one("#window", VerticalScroll)

    def _fit(self) -> None:
        """Columns by the width there is; built anew, for a column's width is given when it is added."""
        try:
            body = self.query_one("#body")
        except NoMatches:
            return
        is_wide = self._width >= WIDE_COLUMNS_MIN
        body.set_class(is_wide, "wide")
        is_narrow = self._width < len(KEYS_WIDE) // 2 + 8
        self.query_one("#keys", Static).update(KEYS_NARROW if is_narrow else KEYS_WIDE)
        self._show_table(keep=self._current_text())

    def _show_table(self, *, keep: str | None) -> None:
        """All rows anew, in their order; the cursor stays on its keyword, or at its place when that is gone."""
        table = self._table
        place = table.cursor_row
        self._lines = ordered(found(self._selection.lines(), self._query.text), self._column, falling=self._is_falling)
        with self.batch_update():
            table.clear(columns=True)
            for column, width in self._widths().items():
                table.add_column(self._label(column), width=width, key=column)
            for line in self._lines:
                table.add_row(*self._cells(line), key=line.keyword.text)
            texts = [line.keyword.text for line in self._lines]
            row = texts.index(keep) if keep in texts else min(place, len(texts) - 1)
            table.move_cursor(row=max(row, 0), animate=False)
        self._show_query()
        self._show_figures()

    def _widths(self) -> dict[Column, int]:
        """The text gets what is left; figures that nobody has are not shown where there is no room."""
        details = DETAILS_WIDTH_WIDE if self._width >= WIDE_COLUMNS_MIN and self._shows_details else 0
        intent = INTENT_WIDTH if self._width - details >= 90 else INTENT_WIDTH_NARROW
        widths = {Column.DECISION: SIGN_WIDTH, Column.INTENT: intent, **FIGURES_WIDTH}
        padding = 2 * (len(widths) + 1) + SCROLL_BAR_WIDTH
        text = max(self._width - details - sum(widths.values()) - padding, TEXT_WIDTH_MIN)
        return {column: {**widths, Column.TEXT: text}[column] for column in Column}

    def _label(self, column: Column) -> Text:
        arrow = ("↓" if self._is_falling else "↑") if column is self._column else ""
        name = arrow + SHORT_NAMES.get(column, column.value) or " "
        return Text(name, style="bold" if arrow else "", justify="right" if column in FIGURES_WIDTH else "left")

    def _cells(self, line: Line) -> list[Text]:
        keyword, style = line.keyword, STYLES[line.mark]
        signs = ("+" if line.is_own else "") + ("*" if line.is_new else "") + ("!" if keyword.flag else "")
        text = f"{signs} {keyword.text}" if signs else keyword.text
        width = self._widths()[Column.TEXT]
        cells = {
            Column.DECISION: Text(SIGNS[line.mark], style=style),
            Column.NUMBER: _figure(keyword.position),
            Column.TEXT: Text(_cut(text, width), style="dim" if line.mark is Mark.DROPPED else ""),
            Column.INTENT: Text(keyword.intent[: self._widths()[Column.INTENT]]),
            Column.VOLUME: _figure(keyword.volume),
            Column.DIFFICULTY: _figure(keyword.difficulty),
            Column.SCORE: _figure(f"{keyword.score:.4g}"),
            Column.SOURCES: _figure(len(keyword.sources) or "own"),
        }
        return [cells[column] for column in Column]

    def _show_line(self, text: str) -> None:
        """One row anew, where it stands: the rest of the table stays as it is."""
        lines = {line.keyword.text: line for line in self._selection.lines()}
        for row, line in enumerate(self._lines):
            if line.keyword.text == text and text in lines:
                self._lines[row] = lines[text]
                for column, cell in enumerate(self._cells(lines[text])):
                    self._table.update_cell_at(Coordinate(row, column), cell)
        self._show_figures()

    def _show_figures(self) -> None:
        tally = self._selection.tally()
        settings = self._selection.settings
        parts = [
            f"shown {len(self._lines)} of {tally.total}",
            f"✔ approved {tally.approved}",
            f"✘ dropped {tally.dropped}",
            f"· undecided {tally.undecided}",
            f"+ own {tally.own}",
        ]
        limits = f"{settings.approved_min}-{settings.approved_max}"
        is_over = tally.approved > settings.approved_max
        problem = f"{tally.approved - settings.approved_max} too many: {limits} may be approved" if is_over else limits
        self.query_one("#counts", Static).update(
            Text("  ".join(parts)).append(f"  ({problem})", style="bold red" if is_over else "dim")
        )
        self._show_details()

    def _show_details(self) -> None:
        self.query_one("#details").set_class(not self._shows_details, "hidden")
        line = self._current()
        self.query_one("#about", Static).update(details_of(line) if line else Text("nothing fits the filter"))

    def _say(self, words: str, *, is_problem: bool = False) -> None:
        self.query_one("#said", Static).update(Text(words, style="bold red" if is_problem else "italic"))

    def _current(self) -> Line | None:
        row = self._table.cursor_row
        return self._lines[row] if 0 <= row < len(self._lines) else None

    def _current_text(self) -> str | None:
        line = self._current()
        return line.keyword.text if line else None

    def on_data_table_row_highlighted(self) -> None:
        self._show_details()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        self._order_by(list(Column)[event.column_index])

    def _move(self, rows: int) -> None:
        last = len(self._lines) - 1
        self._table.move_cursor(row=min(max(self._table.cursor_row + rows, 0), max(last, 0)), animate=False)
        self._show_details()

    def _page_rows(self) -> int:
        return max(self._table.size.height - 2, 1)

    def _switch_details(self) -> None:
        self._shows_details = not self._shows_details
        self._show_table(keep=self._current_text())

    def _scroll_details(self, lines: int) -> None:
        self.query_one("#details", VerticalScroll).scroll_relative(y=lines, animate=False)

    # Decisions

    def _changed(self, words: str, text: str | None = None) -> None:
        """After every change: shown, said, and kept, so that nothing is lost with the terminal."""
        if text is None or self._query.text or self._column is Column.DECISION:
            self._show_table(keep=self._current_text())
        else:
            self._show_line(text)
        self._say(words)
        try:
            self._review.keep(self._selection.now)
        except OSError as error:
            self._say(f"{words}; the draft can't be kept: {error.strerror}", is_problem=True)

    def _mark(self, mark: Mark) -> None:
        line = self._current()
        if line is None:
            return
        text, row = line.keyword.text, self._table.cursor_row
        is_gone = text in self._selection.now.own and mark is Mark.DROPPED
        following = self._lines[row + 1].keyword.text if row + 1 < len(self._lines) else text
        self._selection.mark([text], mark)
        self._changed(f"{mark}: {text}", None if is_gone else text)
        if mark is not Mark.UNDECIDED:
            self._go_to(following)

    def _go_to(self, text: str) -> None:
        texts = [line.keyword.text for line in self._lines]
        if text in texts:
            self._table.move_cursor(row=texts.index(text), animate=False)
        self._show_details()

    def _switch(self) -> None:
        text = self._current_text()
        if text is None:
            return
        if text in self._selection.now.own:
            self._say("your own keyword is approved; d takes it out")
            return
        self._selection.toggle(text)
        self._changed(f"{self._selection.mark_of(text)}: {text}", text)

    def _mark_all(self, mark: Mark) -> None:
        texts = [line.keyword.text for line in self._lines]
        if texts:
            fitting = f" that fit {self._query.text!r}" if self._query.text else ""
            self._changed(self._selection.mark(texts, mark) + fitting)

    def _ask_volume(self) -> None:
        shown = [line.keyword for line in self._lines]
        unknown = sum(1 for keyword in shown if keyword.volume is None)
        if unknown == len(shown):
            self._say("no keyword that is shown has a volume", is_problem=True)
            return

        def hint(value: str) -> str:
            if not value.strip().isdecimal():
                return "a number"
            under = len(under_volume(shown, int(value)))
            return f"drops {under} of {len(shown)} shown; {unknown} without a figure stay as they are"

        def drop(value: str) -> None:
            if value.strip().isdecimal():
                words = self._selection.mark(under_volume(shown, int(value)), Mark.DROPPED)
                self._changed(f"{words} under {int(value)} a month")
            elif value.strip():
                self._say(f"{value!r} is no number", is_problem=True)

        self._ask(Prompt("Drop what is searched for less often a month than", drop, hint=hint))

    def _ask_own(self) -> None:
        def add(text: str) -> None:
            if not text.strip():
                return
            try:
                words = self._selection.add(text)
            except PipelineError as error:
                self._say(str(error), is_problem=True)
                return
            self._changed(words)
            self._go_to(self._selection.now.own[-1])

        self._ask(Prompt("A keyword of your own", add))

    def _ask_note(self) -> None:
        line = self._current()
        if line is None:
            return
        text = line.keyword.text

        def note(words: str) -> None:
            try:
                self._changed(self._selection.note(text, words), text)
            except PipelineError as error:
                self._say(str(error), is_problem=True)

        self._ask(Prompt(f"A note on “{text}”: why it is decided so", note, LineEditor(line.note)))

    # Order

    def _order_next(self) -> None:
        columns = list(Column)
        self._order(columns[(columns.index(self._column) + 1) % len(columns)])

    def _turn_order(self) -> None:
        self._is_falling = not self._is_falling
        self._show_table(keep=self._current_text())

    def _order_by(self, column: Column) -> None:
        if column is self._column:
            self._turn_order()
        else:
            self._order(column)

    def _order(self, column: Column) -> None:
        """The cursor goes to the top: that end is what the order is asked for."""
        self._column, self._is_falling = column, column in FALLS_FIRST
        self._table.move_cursor(row=0, animate=False)
        self._show_table(keep=None)
        self._say(f"ordered by {column}, {'falling' if self._is_falling else 'rising'}")

    # Files, sending, leaving

    def _ask_file(self) -> None:
        def write(path: str) -> None:
            if not path.strip():
                return
            try:
                self._say(self._review.write(path.strip(), self._selection.lines()))
            except PipelineError as error:
                self._say(str(error), is_problem=True)

        label = "Write the draft to (CSV; to a name that ends in .json: JSON)"
        self._ask(Prompt(label, write, LineEditor(self._review.file_name)))

    def _ask_to_send(self) -> None:
        tally = self._selection.tally()
        lines = [
            f"{tally.approved} approved (of which {tally.own} your own), {tally.dropped} dropped, "
            f"{tally.undecided} undecided of {tally.total}"
        ]
        ways = (
            (("d", "send, drop the undecided", Mark.DROPPED), ("a", "send, approve the undecided", Mark.APPROVED))
            if tally.undecided
            else (("y", "send this", Mark.DROPPED),)
        )
        answers: dict[str, tuple[str, Callable[[], None]]] = {}
        for key, words, mark in ways:
            problem = self._selection.problem(mark)
            if problem is None:
                answers[key] = (words, partial(self._send_draft, mark))
            else:
                lines.append(f"{words}: can't be done, {problem}")
        self._ask(Question(lines, answers))

    def _send_draft(self, undecided: Mark) -> None:
        try:
            self._send(self._selection.decision(undecided))
        except PipelineError as error:
            self._say(str(error), is_problem=True)

    def _ask_to_reject(self) -> None:
        def hint(value: str) -> str:
            words = guidance_words(self._guidance(value))
            return f"the next search {words}" if words else "no phrase to leave out or to look for; the model reads it"

        def confirm(value: str) -> None:
            try:
                decision = self._selection.rejection(value)
            except PipelineError as error:
                self._say(str(error), is_problem=True)
                return
            lines = [f"“{decision.feedback}”", hint(value), f"named as wrong: {len(decision.drop)}, those you dropped"]
            lines.append("Approvals of this draft are given up, your own keywords stay; the search begins again.")
            self._ask(Question(lines, {"y": ("reject the list", lambda: self._send(decision))}))

        label = "Reject the whole list. What should the next search do otherwise? (no …, more about …, “phrase”)"
        self._ask(Prompt(label, confirm, hint=hint))

    def _guidance(self, feedback: str) -> Guidance:
        """Of this rejection together with those before it."""
        now = self._selection.now
        wrong = {text: now.notes.get(text) for text, mark in now.marks.items() if mark is Mark.DROPPED}
        latest = Rejection(actor="", at=EPOCH, feedback=feedback, shown=(), wrong=wrong)
        return guidance_of([*self._review.rejections, latest])

    def _send(self, decision: SeedDecision) -> None:
        self._is_sending = True
        self._say("sending …")
        self.run_worker(self._sent(decision), exit_on_error=False)

    async def _sent(self, decision: SeedDecision) -> None:
        try:
            sent = await self._review.send(decision)
        except (CommandError, PipelineError) as error:
            self._say("not sent; your draft is kept, w writes it to a file", is_problem=True)
            self._ask(Question([str(error), "Nothing of your draft is lost."]))
            await self._look_once()
        else:
            self.exit(Left(sent=sent))
        finally:
            self._is_sending = False

    def _ask_to_leave(self) -> None:
        if not self._selection.is_changed:
            self.exit(Left())
            return
        tally = self._selection.tally()
        lines = [f"Not sent: {tally.approved} approved, {tally.dropped} dropped, {tally.own} own. Leave?"]
        answers = {
            "k": ("keep the draft and leave", lambda: self.exit(Left(is_kept=True))),
            "t": ("throw it away and leave", lambda: self.exit(Left())),
        }
        self._ask(Question(lines, answers))

    def _look_for_others(self) -> None:
        if not self._decided_meanwhile and not self._is_sending:
            self.run_worker(self._look_once(), exclusive=True, group="others", exit_on_error=False)

    async def _look_once(self) -> None:
        try:
            words = await self._review.decided_meanwhile()
        except (CommandError, PipelineError):
            return  # an outage; sending will say so
        if words:
            self._decided_meanwhile = words
            notice = self.query_one("#notice", Static)
            notice.update(f"{words} Your draft stays here: w writes it to a file, q leaves.")
            notice.remove_class("hidden")


def details_of(line: Line) -> Text:
    """All there is to know about a keyword, every source on a line of its own."""
    keyword = line.keyword
    text = Text(keyword.text, style="bold")
    figures = [f"{keyword.intent}", f"score {keyword.score:.4g}"]
    figures += [f"volume {keyword.volume}"] if keyword.volume is not None else []
    figures += [f"difficulty {keyword.difficulty}"] if keyword.difficulty is not None else []
    figures += [f"${keyword.cpc_usd:f} a click"] if keyword.cpc_usd is not None else []
    text.append(f"  {SIGNS[line.mark]} {line.mark}\n{' · '.join(figures)}\n", style="not bold")
    told = [f"! {keyword.flag}"] if keyword.flag else []
    told += ["* new since the last review"] if line.is_new else []
    told += [f"note: {line.note}"] if line.note else []
    if keyword.decided_by and keyword.decided_at:
        told.append(f"{keyword.decision} by {keyword.decided_by}, {keyword.decided_at.astimezone():%Y-%m-%d %H:%M}")
    told += [f"+ own keyword, brought by {keyword.added_by}"] if line.is_own else []
    told += [source_words(source) for source in keyword.sources]
    return text.append("\n".join(told), style="not bold")


def source_words(source: dict[str, Any]) -> str:
    """A page's address; of another kind of source what it says of itself."""
    if source.get("url"):
        return str(source["url"])
    return ", ".join(f"{name} {value}" for name, value in source.items() if value not in (None, "", []))


def _figure(value: object) -> Text:
    return Text("" if value is None else str(value), justify="right")


def _cut(text: str, width: int) -> str:
    shown = Text(text)
    shown.truncate(width, overflow="ellipsis")
    return shown.plain
