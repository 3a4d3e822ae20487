"""The seeded bugs still fit the code; that they are caught is ``python -m tests.mutants.run``."""

from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant, patched_files

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("one", MUTANTS, ids=lambda one: one.name)
def test_every_mutant_applies(one: Mutant) -> None:
    for path, text in patched_files(one, ROOT).items():
        assert text != (ROOT / path).read_text(encoding="utf-8")
        if path.endswith(".py"):
            compile(text, path, "exec")


def test_names_are_unique_and_their_tests_exist() -> None:
    assert len({one.name for one in MUTANTS}) == len(MUTANTS) >= 20
    for one in MUTANTS:
        for test in one.tests:
            path, _, name = test.partition("::")
            assert name == "" or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test
            assert (ROOT / path).exists(), test
