"""The command line from outside, where no server is needed: help, usage, bad input, servers that aren't there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import starter

ROOT = Path(starter.__file__).parent
COMMANDS = (
    *("demo", "up", "doctor", "start", "status", "watch", "list", "cancel", "retry", "raise-cap"),
    *("review", "approve", "redo", "show", "preview", "export", "history", "articles", "costs"),
)
DESCRIPTION = (
    "We sell accounts payable automation to mid-size distributors that drown in paper invoices at every "
    "month end and want to close their books in days."
)
DEAD_DSN = "postgresql://infin8_app@127.0.0.1:1/infin8"
SERVERS = ("INFIN8_POSTGRES_DSN", "INFIN8_POSTGRES_OPERATOR_DSN", "TEMPORAL_ADDRESS", "INFIN8_TEMPORAL_ADDRESS")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without .env or stack, an environment without addresses."""
    monkeypatch.chdir(tmp_path)
    for name in SERVERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INFIN8_STATE_DIR", str(tmp_path / "state"))


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(starter.app, list(arguments))


def refused(*arguments: str, code: int) -> str:
    """The one line on standard error; standard output stays empty."""
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def refused_object(*arguments: str, code: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(refused(*arguments, "--json", code=code))
    assert set(found) >= {"error", "message"}
    return found


def brief_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "brief.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def good(**changes: str) -> str:
    return json.dumps(
        {
            "organization": {"name": "Harborline", "url": "https://harborline.example", "description": DESCRIPTION},
            **changes,
        }
    )


# Help and usage --------------------------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert all(f" {name} " in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert "--help" in result.stdout


def test_the_help_of_reconcile_names_the_exit_code_of_a_defect() -> None:
    assert "4 when counters" in " ".join(invoke("reconcile", "--help").stdout.split())


def test_help_and_bad_input_load_no_server_library() -> None:
    """They answer at once because what they don't need stays unloaded; seconds would measure the machine instead."""
    heavy = {"temporalio", "openai", "worker", "numpy", "trafilatura"}
    for arguments, code in ((["--help"], 0), (["start", "nowhere.yaml"], 2)):
        command = [sys.executable, "-X", "importtime", str(ROOT / "starter.py"), *arguments]
        process = subprocess.run(command, capture_output=True, check=False, timeout=60, text=True)
        assert process.returncode == code
        loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in process.stderr.splitlines()}
        assert "typer" in loaded
        assert not loaded & heavy, arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["strat"], "No such command 'strat'. Did you mean 'start'"),
        (["status"], "Missing argument 'ID' (see `starter.py status --help`)"),
        (["prices", "add"], "(see `starter.py prices add --help`)"),
        (["plans", "set", "small", "--frob"], "(see `starter.py plans set --help`)"),
        (["prices", "ad"], "(see `starter.py prices --help`)"),
        (["status", "abcd", "--frob"], "No such option"),
        (["list", "--limit", "many"], "'--limit': Input should be a valid integer"),
        (["list", "--limit", "0"], "greater than or equal to 1"),
        (["show", "abcd", "icps"], "'icps'"),
        (["redo", "abcd", "1"], "--note"),
        (["review", "abcd", "--reopen", "--approve-all"], "exclude each other"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], words: str) -> None:
    assert words in refused(*arguments, code=2)
    assert words in refused_object(*arguments, code=2)["message"]


# Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("organization: [", "not valid YAML"),
        ("", "empty"),
        (good(colour="blue"), "colour is not a field of the brief"),
        (good(competitors="https://a.example"), "competitors"),
        (json.dumps({**json.loads(good()), "competitors": ["https://www.harborline.example"]}), "your own site"),
        (good(cap_usd="0"), "must be above 0"),
        (good(cap_usd="-1"), "must be above 0"),
        (good(cap_usd="lots"), "cap_usd"),
    ],
)
def test_a_bad_brief_is_refused_before_any_server_is_asked(tmp_path: Path, text: str, words: str) -> None:
    message = refused("start", brief_file(tmp_path, text), code=2)
    assert words in message
    assert "brief.yaml" in message
    assert refused_object("start", brief_file(tmp_path, text), code=2)["error"] == "BadInputError"
    assert words in refused("demo", "--brief", brief_file(tmp_path, text), code=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["start"], "give a brief file"),
        (["start", "nowhere.yaml"], "no brief at nowhere.yaml"),
        (["start", "."], "can't be read"),
        (["start", "--company", "Harborline"], "--url, --description is missing"),
        (["start", "--company", "H", "--url", "ftp://h.example", "--description", DESCRIPTION], "organization.url"),
        (["raise-cap", "abcd", "0"], "must be above 0"),
        (["raise-cap", "abcd", "much"], "'much'"),
        (["up", "--sites", "nowhere"], "nowhere"),
    ],
)
def test_bad_arguments(arguments: list[str], words: str) -> None:
    assert words in refused(*arguments, code=2)


def test_what_a_list_can_not_be_exported_as(tmp_path: Path) -> None:
    message = refused("review", "abcd", "--export", str(tmp_path / "kw.xlsx"), code=2)
    assert "kw.xlsx can't be written: a list is exported as .csv or .json" in message
    assert "give --export FILE" in refused("review", "abcd", "--force", code=2)


def test_bad_options_of_start(tmp_path: Path) -> None:
    path = brief_file(tmp_path, good())
    assert "--cap is '0'" in refused("start", path, "--cap", "0", code=2)
    assert "--name is" in refused("start", path, "--name", "  ", code=2)
    assert "--name is" in refused("start", path, "--name", "x" * 101, code=2)
    assert "not both" in refused("start", path, "--company", "Harborline", code=2)


def test_a_brief_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "brief.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in refused("start", str(path), code=2)


def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFIN8_LLM_SLOTS", "many")
    found = refused_object("list", code=2)
    assert found["error"] == "ConfigurationError"
    assert "LLM_SLOTS" in found["message"].upper()


# Servers that are not there --------------------------------------------------------------------------------------

NEED_SERVERS = (
    ["status", "abcd"],
    ["watch", "abcd"],
    ["list"],
    ["history", "abcd"],
    ["costs"],
    ["articles", "abcd"],
    ["show", "abcd", "icp"],
    ["preview", "abcd"],
    ["export", "abcd"],
    ["review", "abcd", "--approve-all"],
    ["approve", "abcd"],
    ["redo", "abcd", "1", "--note", "shorter"],
    ["retry", "abcd"],
    ["cancel", "abcd"],
    ["raise-cap", "abcd", "2"],
)


@pytest.mark.parametrize("arguments", NEED_SERVERS)
def test_without_a_stack_every_command_says_what_to_do(arguments: list[str]) -> None:
    assert "starter.py up" in refused(*arguments, code=5)


def test_start_without_a_stack(tmp_path: Path) -> None:
    assert "starter.py up" in refused("start", brief_file(tmp_path, good(competitors=[])), code=5)  # type: ignore[arg-type]


def test_a_dead_database_is_five(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFIN8_POSTGRES_DSN", "INFIN8_POSTGRES_OPERATOR_DSN"):
        monkeypatch.setenv(name, DEAD_DSN)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    found = refused_object("list", code=5)
    assert found["error"] == "DatabaseUnavailableError"


def test_a_dead_temporal_is_five_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFIN8_POSTGRES_DSN", "INFIN8_POSTGRES_OPERATOR_DSN"):
        monkeypatch.setenv(name, DEAD_DSN)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    path = brief_file(tmp_path, (ROOT / "briefs/harborline.yaml").read_text(encoding="utf-8"))
    assert "127.0.0.1:1" in refused("start", path, code=5)


def test_the_doctor_checks_everything_and_says_what_to_do() -> None:
    result = invoke("doctor", "--json")
    assert result.exit_code == 5
    found = json.loads(result.stdout)
    assert found["is_ok"] is False
    by_name = {check["name"]: check for check in found["checks"]}
    assert by_name["Python"]["is_ok"]
    assert by_name["state folder"]["is_ok"]
    assert not by_name["Postgres, application"]["is_ok"]
    assert "starter.py up" in by_name["Postgres, application"]["what_to_do"]
    assert {"migrations", "graph of states", "Temporal", "search attributes", "worker", "key", "models"} <= set(by_name)


def test_the_doctor_finds_a_folder_that_can_not_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Below a file, where not even root may make one."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("INFIN8_OUTPUT_DIR", str(tmp_path / "file" / "published"))
    checks = {check["name"]: check for check in json.loads(invoke("doctor", "--json").stdout)["checks"]}
    assert not checks["output folder"]["is_ok"]
    assert "INFIN8_OUTPUT_DIR" in checks["output folder"]["what_to_do"]


def test_an_unexpected_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("config.load_settings", broken)
    assert "RuntimeError: two lines" in refused("list", code=1)
    assert "INFIN8_LOG_LEVEL=DEBUG" in refused_object("list", code=1)["message"]
    monkeypatch.setenv("INFIN8_LOG_LEVEL", "DEBUG")
    assert "Traceback" in invoke("list").stderr
