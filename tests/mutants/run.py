"""``python -m tests.mutants.run [NAME…]``: are the checkers any good? Every seeded bug has to be caught by a test.

The tree is copied to a temporary folder; there the named tests pass as they are and one of them fails under each
mutant. Prints a line per mutant and k/k; exits with 1 when one survives, and when an edit or a test does not fit.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Mutant, PatchError, patched_files

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "data", "out", "node_modules")
TIMEOUT_SECONDS = 300
FAILED = re.compile(r"^FAILED (.+?)(?: - .*)?$", re.MULTILINE)  # an ERROR is a broken set-up, no catch
TESTS_FAILED = 1  # pytest's exit codes


@dataclass(frozen=True)
class Run:
    code: int
    output: str
    seconds: float

    @property
    def first_failure(self) -> str | None:
        found = FAILED.search(self.output)
        return found[1] if found else None


@contextmanager
def copied_tree() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="infin8-mutants-"))
    try:
        yield Path(shutil.copytree(ROOT, folder / "tree", ignore=NOT_COPIED))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_tests(tree: Path, tests: Sequence[str], *, first_only: bool) -> Run:
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "400"}
    try:
        done = subprocess.run(
            [*command, "-x"] if first_only else command,
            cwd=tree, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Run(-1, f"no end within {TIMEOUT_SECONDS} s", time.monotonic() - began)
    return Run(done.returncode, done.stdout + done.stderr, time.monotonic() - began)


@contextmanager
def applied(tree: Path, one: Mutant) -> Iterator[None]:
    files = patched_files(one, tree)
    whole = {path: (tree / path).read_text(encoding="utf-8") for path in files}
    try:
        for path, text in files.items():
            (tree / path).write_text(text, encoding="utf-8")
        yield
    finally:
        for path, text in whole.items():
            (tree / path).write_text(text, encoding="utf-8")


def caught_by(tree: Path, one: Mutant) -> tuple[bool, str]:
    """Whether a named test fails, and the line to print."""
    try:
        with applied(tree, one):
            run = run_tests(tree, one.tests, first_only=True)
    except PatchError as error:
        return False, f"DOES NOT APPLY  {one.name}: {error}"
    is_caught = run.code == TESTS_FAILED and run.first_failure is not None
    if is_caught:
        return True, f"caught    {one.name} by {run.first_failure} in {run.seconds:.1f} s"
    what = "SURVIVED" if run.code == 0 else f"NO VERDICT (pytest's exit code {run.code}: {run.output[-300:]!r})"
    return False, f"{what}  {one.name}: {', '.join(one.tests)} in {run.seconds:.1f} s"


def chosen(names: Sequence[str]) -> list[Mutant]:
    unknown = set(names) - {one.name for one in MUTANTS}
    if unknown:
        raise SystemExit(f"no mutant is called {', '.join(sorted(unknown))}; see tests/mutants/catalogue.py")
    return [one for one in MUTANTS if not names or one.name in names]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(names: Sequence[str]) -> int:
    mutants = chosen(names)
    with copied_tree() as tree:
        sound = run_tests(tree, sorted({test for one in mutants for test in one.tests}), first_only=False)
        if sound.code != 0:
            say(f"the tests fail without any mutant: {sound.output[-2000:]}")
            return 1
        say(f"sound     no mutant, all tests pass in {sound.seconds:.1f} s")
        caught = 0
        for one in mutants:
            is_caught, line = caught_by(tree, one)
            caught += is_caught
            say(line)
    say(f"{caught}/{len(mutants)}")
    return 0 if caught == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
