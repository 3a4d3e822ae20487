"""One section of an article: what its heading asks for, tied to the passages it may cite."""

from typing import Any

from sandbox.answers import Blocks
from sandbox.answers.writer import SectionTask, write_section


def answer(blocks: Blocks) -> dict[str, Any]:
    return {"blocks": write_section(SectionTask.of(blocks))}
