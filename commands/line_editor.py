"""A line of text under a person's keys. Pure, so that keys are taken in the order in which they come."""

from dataclasses import dataclass

CHARACTERS_MAX = 4_000


@dataclass
class LineEditor:
    """``cursor`` stands before the character of its index."""

    text: str = ""
    cursor: int = 0

    def __post_init__(self) -> None:
        self.cursor = len(self.text)

    def insert(self, text: str) -> None:
        """What can't be shown in a line becomes a space."""
        tidy = "".join(character if character.isprintable() else " " for character in text)
        room = tidy[: max(CHARACTERS_MAX - len(self.text), 0)]
        self.text = self.text[: self.cursor] + room + self.text[self.cursor :]
        self.cursor += len(room)

    def press(self, key: str, character: str | None) -> bool:
        """Whether the key meant something to the line; ``key`` is named as textual names it."""
        match key:
            case "left" | "ctrl+b":
                self.cursor = max(self.cursor - 1, 0)
            case "right" | "ctrl+f":
                self.cursor = min(self.cursor + 1, len(self.text))
            case "home" | "ctrl+a":
                self.cursor = 0
            case "end" | "ctrl+e":
                self.cursor = len(self.text)
            case "backspace" | "ctrl+h":
                self._cut(max(self.cursor - 1, 0))
            case "delete" | "ctrl+d":
                self.text = self.text[: self.cursor] + self.text[self.cursor + 1 :]
            case "ctrl+u":
                self._cut(0)
            case "ctrl+w":
                before = self.text[: self.cursor].rstrip()
                self._cut(before.rfind(" ") + 1)
            case _ if character is not None and character.isprintable():
                self.insert(character)
            case _:
                return False
        return True

    def _cut(self, start: int) -> None:
        """Takes out what stands from ``start`` up to the cursor."""
        self.text = self.text[:start] + self.text[self.cursor :]
        self.cursor = start

    def shown(self) -> str:
        """With a mark where the cursor is."""
        return f"{self.text[: self.cursor]}▏{self.text[self.cursor :]}"
