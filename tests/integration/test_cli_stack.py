"""The command line against a real stack: `starter.py up` as a process, the other commands as processes beside it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import starter
from sandbox.postgres import remove_postgres

ROOT = Path(starter.__file__).parent
PATIENCE_SECONDS = 60.0
KEYS = ("INFIN8_LLM_API_KEY", "INFIN8_LLM_BASE_URL", "OPENROUTER_API_KEY", "OPENAI_API_KEY")


@dataclass
class Ended:
    code: int
    stdout: str
    stderr: str

    @property
    def value(self) -> Any:
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """The one object on standard error."""
        found: dict[str, Any] = json.loads(self.stderr)
        return found


@dataclass
class Stack:
    """A stack in a folder of its own; commands speak to it through that folder alone."""

    folder: Path
    process: subprocess.Popen[str] | None = None
    said: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        plain = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("INFIN8_", "TEMPORAL_")) and name not in KEYS
        }
        return plain | {
            "INFIN8_STATE_DIR": str(self.folder / "state"),
            "INFIN8_OUTPUT_DIR": str(self.folder / "published"),
        }

    def up(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "starter.py"), "up", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if self.said[-1] == "ready":
                return
        raise AssertionError("\n".join(self.said))

    def down(self, number: signal.Signals) -> int:
        """Its exit code after the signal."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    def run(self, *arguments: str, stdin: str = "") -> Ended:
        ended = subprocess.run(
            [sys.executable, str(ROOT / "starter.py"), *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def run_together(self, *commands: Sequence[str]) -> list[Ended]:
        with ThreadPoolExecutor(len(commands)) as pool:
            return list(pool.map(lambda arguments: self.run(*arguments), commands))

    def wait_for(self, workflow: str, state: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found: dict[str, Any] = self.run("status", workflow, "--json").value
            if found["state"] == state:
                return found
            assert found["status"] != "failed", found["failure"]
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    def brief(self, name: str, **changes: Any) -> str:
        """The demo's brief, approved by a person, as a file."""
        import yaml

        value = yaml.safe_load((ROOT / "briefs/harborline.yaml").read_text(encoding="utf-8"))
        value["publish"]["approval"] = "person"
        path = self.folder / name
        path.write_text(json.dumps(value | changes), encoding="utf-8")
        return str(path)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="infin8-cli-"))
    folder.chmod(0o755)
    found = Stack(folder)
    try:
        found.up()
        yield found
    finally:
        if found.process is not None:
            found.down(signal.SIGINT)
        remove_postgres(folder / "state")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def spring(stack: Stack) -> dict[str, Any]:
    """A workflow that waits for its review."""
    started = stack.run("start", stack.brief("spring.json"), "--name", "spring", "--json")
    assert started.code == 0, started.stderr
    found: dict[str, Any] = started.value
    stack.wait_for(found["workflow_id"], "SEED_REVIEW_PENDING")
    return found


def test_up_tells_what_it_started(stack: Stack) -> None:
    told = "\n".join(stack.said)
    assert "no API key found: the sandbox answers" in told
    assert "Postgres 18" in told
    assert "Temporal 1." in told
    note = json.loads((stack.folder / "state/stack.json").read_text())
    assert note["temporal_ui"] in told
    assert {"postgres_dsn", "postgres_operator_dsn", "postgres_admin_dsn", "temporal_address"} <= set(note)


def test_a_second_up_is_a_conflict_and_the_doctor_is_content(stack: Stack) -> None:
    second, doctor, listing = stack.run_together(["up"], ["doctor", "--json"], ["list"])
    assert second.code == 4
    assert len(second.stderr.splitlines()) == 1
    assert "already up" in second.stderr
    assert doctor.code == 0, doctor.stdout
    assert all(check["is_ok"] for check in doctor.value["checks"])
    assert listing.code == 0


def test_a_start_and_the_same_again(stack: Stack, spring: dict[str, Any]) -> None:
    assert spring["existing"] is False
    assert spring["state"] == "CREATED"
    assert set(spring) >= {"workflow_id", "organization_id", "temporal_workflow_id", "run_id", "ui_url"}
    assert spring["temporal_workflow_id"] == f"intent/{spring['organization_id']}/{spring['workflow_id']}"
    assert spring["ui_url"].endswith(f"intent%2F{spring['organization_id']}%2F{spring['workflow_id']}")
    again, other, bad_cap = stack.run_together(
        ["start", stack.brief("spring.json"), "--name", "spring", "--json"],
        ["start", stack.brief("other.json", locale="de-DE"), "--name", "spring", "--json"],
        ["start", stack.brief("spring.json"), "--name", "autumn", "--cap", "0", "--json"],
    )
    assert again.code == 0
    assert again.value | {"state": "CREATED"} == spring | {"existing": True}
    assert other.code == 4
    assert other.error["error"] == "IdempotencyConflictError"
    assert other.error["current_state"] == "SEED_REVIEW_PENDING"
    assert bad_cap.code == 2
    assert bad_cap.stdout == ""


def test_status_has_the_promised_shape(stack: Stack, spring: dict[str, Any]) -> None:
    by_id, by_name, by_prefix, unknown = stack.run_together(
        ["status", spring["workflow_id"], "--json"],
        ["status", "spring"],
        ["status", spring["workflow_id"][:6], "--json"],
        ["status", "00000000-0000-0000-0000-000000000000", "--json"],
    )
    found = by_id.value
    assert found == by_prefix.value
    assert (found["state"], found["step"], found["status"]) == ("SEED_REVIEW_PENDING", "seed_review", "waiting")
    assert found["waiting_for"] == "review"
    assert found["articles"] == {"planned": 0, "done": 0, "failed": 0, "not_begun": 0}
    assert found["failure"] is None
    assert (found["cap_usd"], found["held_usd"]) == ("1.00", "0.00")
    assert isinstance(found["spent_usd"], str)
    assert 0 < Decimal(found["spent_usd"]) < 1
    assert f"starter.py review {spring['workflow_id']}" in by_name.stdout
    assert spring["ui_url"] in by_name.stdout
    assert unknown.code == 3
    assert unknown.error["error"] == "NotFoundError"


def test_a_review_needs_a_person_and_a_good_choice(stack: Stack, spring: dict[str, Any]) -> None:
    id_ = spring["workflow_id"]
    listed, none_such, one, shown = stack.run_together(
        ["review", id_],
        ["review", id_, "--drop", "999"],
        ["review", id_, "--approve", "1"],
        ["show", id_, "keywords", "--json"],
    )
    assert listed.code == 2
    keywords = shown.value
    assert f"{len(keywords)} keywords in all" in listed.stdout
    assert all(keyword["text"] in listed.stdout for keyword in keywords)
    assert "--approve-all" in listed.stderr
    assert (none_such.code, one.code) == (2, 2)


def test_of_two_reviewers_one_wins(stack: Stack, spring: dict[str, Any]) -> None:
    id_ = spring["workflow_id"]
    anna, bert = stack.run_together(
        ["review", id_, "--drop", "1", "--add", "supplier portal", "--as", "anna", "--json"],
        ["review", id_, "--approve-all", "--as", "bert", "--json"],
    )
    assert sorted([anna.code, bert.code]) == [0, 4], (anna, bert)
    lost = anna if anna.code == 4 else bert
    assert set(lost.error) >= {"current_state", "expected_state", "attempted_state"}
    assert lost.error["expected_state"] == "SEED_REVIEW_PENDING"


def test_approval_and_publishing(stack: Stack, spring: dict[str, Any]) -> None:
    id_ = spring["workflow_id"]
    stack.wait_for(id_, "PUBLISH_PENDING")
    late, retried, preview = stack.run_together(
        ["review", id_, "--approve-all", "--json"], ["retry", id_, "--json"], ["preview", id_, "--json"]
    )
    assert (late.code, retried.code) == (4, 4)
    assert late.error["current_state"] == retried.error["current_state"] == "PUBLISH_PENDING"
    pages = preview.value["articles"]
    assert len(pages) == 3
    assert Path(preview.value["index"]).is_file()
    approved = stack.run("approve", id_, "--json")
    assert approved.code == 0, approved.stderr
    assert sorted(approved.value["approved"].values()) == sorted(page["content_hash"] for page in pages)
    assert stack.run("watch", id_).code == 0


def test_what_is_left_to_look_at(stack: Stack, spring: dict[str, Any]) -> None:
    id_ = spring["workflow_id"]
    status, history, articles, costs, sums, listing = stack.run_together(
        ["status", id_, "--json"],
        ["history", id_, "--json"],
        ["articles", id_, "--json"],
        ["costs", id_, "--json"],
        ["costs", id_, "--by", "step,model", "--json"],
        ["list", "--json"],
    )
    assert (status.value["state"], status.value["waiting_for"]) == ("COMPLETED", None)
    assert [row["seq"] for row in history.value] == list(range(1, len(history.value) + 1))
    assert history.value[0]["from"] == "CREATED"
    assert history.value[-1]["to"] == "COMPLETED"
    assert {"anna", "bert"} & {row["actor"] for row in history.value}
    assert all(set(row) >= {"transition_id", "seq", "from", "to", "actor", "reason", "at"} for row in history.value)
    assert len(articles.value) == 3
    for article in articles.value:
        assert set(article) >= {"article_id", "slug", "title", "state", "published_url"}
        assert Path(article["published_url"].removeprefix("file://")).is_file()
    spent = Decimal(status.value["spent_usd"])
    assert sum(Decimal(line["cost"]) for line in costs.value) == spent
    assert sum(Decimal(line["cost_usd"]) for line in sums.value) == spent
    assert {line["step"] for line in sums.value} == {"icp", "competitor", "article"}
    assert id_ in [row["workflow_id"] for row in listing.value]


def test_a_finished_run_is_final(stack: Stack, spring: dict[str, Any]) -> None:
    id_ = spring["workflow_id"]
    again, *finals = stack.run_together(
        ["start", stack.brief("spring.json"), "--name", "spring", "--json"],
        ["cancel", id_, "--json"],
        ["retry", id_, "--json"],
        ["raise-cap", id_, "5", "--json"],
    )
    assert (again.code, again.value["existing"], again.value["state"]) == (0, True, "COMPLETED")
    for final in finals:
        assert final.code == 4
        assert final.error["current_state"] == "COMPLETED"


def test_a_cap_too_low_parks_and_a_person_goes_on(stack: Stack) -> None:
    brief = stack.brief("low.json", cap_usd="0.03")
    waited = stack.run("start", brief, "--name", "low", "--auto-approve", "--wait", "--json")
    assert waited.code == 6
    found = waited.value
    assert (found["state"], found["status"], found["waiting_for"]) == ("ARTICLE_FAILED", "failed", "retry")
    assert set(found["failure"]) == {"type", "message", "reasons"}
    assert waited.error["error"] == "RunFailedError"
    told, lower, raised = stack.run_together(
        ["watch", "low"], ["raise-cap", "low", "0.01"], ["raise-cap", "low", "0.5", "--as", "anna", "--json"]
    )
    assert told.code == 6
    assert "kept      ICP" in told.stdout
    assert f"starter.py retry {found['workflow_id']}" in told.stdout
    assert lower.code == 2
    assert (raised.code, raised.value["cap_usd"]) == (0, "0.50")
    retried = stack.run("retry", "low", "--wait", "--json")
    assert retried.code == 0, retried.stderr
    assert retried.value["state"] == "PUBLISH_PENDING"
    cancelled = stack.run("cancel", "low", "--json")
    assert (cancelled.code, cancelled.value["state"]) == (0, "CANCELLED")
    assert stack.run("watch", "low", "--json").code == 6


def test_a_killed_worker_is_started_again(stack: Stack) -> None:
    assert stack.process is not None
    assert stack.process.stdout is not None
    children = Path(f"/proc/{stack.process.pid}/task/{stack.process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"worker.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[0]), signal.SIGKILL)
    line = stack.process.stdout.readline()
    assert "the worker died (killed by SIGKILL)" in line


def test_sigterm_ends_everything_with_zero(stack: Stack) -> None:
    pids = json.loads((stack.folder / "state/stack.json").read_text())["pids"]
    assert stack.down(signal.SIGTERM) == 0
    assert not (stack.folder / "state/stack.json").exists()
    for pid in (pids["postgres"], pids["temporal"]):
        assert not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()
    assert stack.run("list").code == 5
