"""One section of an article: what its heading asks for, tied to the passages it may cite."""

from typing import Any

from sandbox.answers import Blocks
from sandbox.answers.writer import SectionTask, SectionWriter


def answer(blocks: Blocks) -> dict[str, Any]:
    return {"blocks": SectionWriter(SectionTask.of(blocks)).write()}
