"""The first minute: `starter.py demo` in a fresh folder, with a key in the environment that it must not use."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import starter
from sandbox.bill import Bill
from sandbox.postgres import remove_postgres

ROOT = Path(starter.__file__).parent
STEPS = ("ICP", "competitor", "seed review", "clustering", "validation", "article", "publish")


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="infin8-demo-"))
    made.chmod(0o755)
    yield made
    remove_postgres(made / "state")
    shutil.rmtree(made, ignore_errors=True)


def command_of(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_the_demo_publishes_and_its_ledger_is_the_bill(folder: Path) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("INFIN8_", "TEMPORAL_"))}
    environment = plain | {
        "INFIN8_STATE_DIR": str(folder / "state"),
        "INFIN8_OUTPUT_DIR": str(folder / "published"),
        "OPENAI_API_KEY": "sk-not-to-be-used-by-a-demo",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
    }
    ended = subprocess.run(
        [sys.executable, str(ROOT / "starter.py"), "demo"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    told = ended.stdout
    assert ended.returncode == 0, told + ended.stderr
    assert "the demo never uses your API key" in told
    assert "/namespaces/default/workflows/intent%2F" in told
    for number, label in enumerate(STEPS, start=1):
        assert re.search(rf"^  ✔ {number} {label} .*\d s", told, re.MULTILINE), (label, told)
    assert "ledger = the sandbox's bill, to the last digit" in told
    assert "\x1b[" not in told
    billed = sum(Decimal(line.cost_usd) for line in Bill(folder / "state/bill.jsonl").lines)
    spent = re.search(r"spent \$(\S+) of", told)
    assert spent is not None
    assert 0 < Decimal(spent[1]) == round(billed, 4)
    pages = [Path(found) for found in re.findall(r"(/\S+\.html)$", told, re.MULTILINE)]
    assert len(pages) == 4
    assert all("Harborline" in page.read_text(encoding="utf-8") for page in pages)
    assert not (folder / "state/stack.json").exists()
    assert not [process for process in Path("/proc").glob("[0-9]*") if str(folder) in command_of(process)]
