"""Log lines of a command: on standard error, warnings and worse, and the process as it was afterwards."""

import json
import logging
from contextlib import suppress
from typing import Any

import pytest
import structlog
import typer
from pydantic import SecretStr

import config
import starter
from commands.logs import logging_to_standard_error
from config import LogFormat, Settings

SECRET = "canary-key-0123456789"


def log_everything() -> None:
    for name in ("ours", "other"):
        logger = structlog.get_logger(name)
        logger.debug("too little", number=1)
        logger.info("no figure for a generation", number=2)
        logger.warning("look here", key=f"is {SECRET}")
        logging.getLogger(name).info("library, quiet")
        logging.getLogger(name).error("library %s", "loud")


def settings_of(**changes: Any) -> Settings:
    return Settings(_env_file=None, llm_api_key=SecretStr(SECRET), **changes)


def test_only_warnings_are_written_and_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_standard_error(settings_of(), as_json=False):
        log_everything()
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 4, err
    assert ["look here" in line for line in lines] == [True, False, True, False]
    assert ["library loud" in line for line in lines] == [False, True, False, True]
    assert SECRET not in err


@pytest.mark.parametrize(("as_json", "log_format"), [(True, LogFormat.CONSOLE), (False, LogFormat.JSON)])
def test_lines_are_objects_where_a_script_reads(
    capsys: pytest.CaptureFixture[str], as_json: bool, log_format: LogFormat
) -> None:
    with logging_to_standard_error(settings_of(log_format=log_format), as_json=as_json):
        log_everything()
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert [one["event"] for one in found] == ["look here", "library loud"] * 2
    assert [one["level"] for one in found] == ["warning", "error"] * 2
    assert [one["logger"] for one in found] == ["ours", "ours", "other", "other"]
    assert SECRET not in err


def test_the_first_line_may_be_a_librarys_or_an_exceptions(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_standard_error(settings_of(), as_json=True):
        logging.getLogger("library").warning("first %d", 1)
    with logging_to_standard_error(settings_of(), as_json=True):
        try:
            raise ValueError("the cause")
        except ValueError:
            structlog.get_logger("ours").exception("failed %s", "here", number=3)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["logger"]) == ("first 1", "library")
    assert (second["event"], second["number"], second["level"]) == ("failed here", 3, "error")
    assert "ValueError: the cause" in second["exception"]


def test_logging_goes_back_to_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.get_config())
    with suppress(KeyError), logging_to_standard_error(settings_of(), as_json=False):
        log_everything()
        raise KeyError
    assert (root.handlers[:], root.level, structlog.get_config()) == before
    assert "look here" in capsys.readouterr().err


def test_every_command_keeps_log_lines_off_its_result(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are carried out by ``run_alone``, ``run`` too."""
    monkeypatch.setattr(config, "load_settings", settings_of)

    async def work(_: object, terminal: Any) -> int:
        log_everything()
        terminal.emit({"is": "the result"})
        return 0

    with pytest.raises(typer.Exit):
        starter.run_alone(work, json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"is": "the result"}
    assert len(err.splitlines()) == 4
