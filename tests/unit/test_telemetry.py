"""Log lines: bound with their facts, and without a secret wherever it came from."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, SecretStr
from temporalio import activity, workflow
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from telemetry import REDACTED, TelemetryInterceptor, configure_logging

SECRET = 'can"ary\\key-0123é'


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is of the whole process: it goes back to what it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    adapters: list[Any] = [workflow.logger, activity.logger]
    facts = [vars(adapter).copy() for adapter in adapters]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    for adapter, before in zip(adapters, facts, strict=True):
        vars(adapter).update(before)


class Lines:
    def __init__(self, *, json: bool = True, level: str = "INFO", secrets: tuple[str, ...] = (SECRET,)) -> None:
        self.stream = io.StringIO()
        configure_logging(json=json, level=level, secrets=[SecretStr(secret) for secret in secrets], stream=self.stream)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def fail(message: str) -> None:
    local_variable = f"local {message}"
    raise ValueError(f"{message} {len(local_variable)}")


def test_structlog_and_the_standard_library_give_lines_of_one_form() -> None:
    lines = Lines()
    structlog.get_logger("ours").info("article written", words=900)
    logging.getLogger("theirs").warning("took %d s", 3, extra={"path": "/x"})

    ours, theirs = lines.events
    assert (ours["event"], ours["words"], ours["level"], ours["logger"]) == ("article written", 900, "info", "ours")
    assert (theirs["event"], theirs["path"], theirs["level"]) == ("took 3 s", "/x", "warning")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_secret_is_in_no_line_however_it_got_there(as_json: bool) -> None:
    lines = Lines(json=as_json)
    logger = structlog.get_logger("ours")
    logger.info(f"in the message {SECRET}", field=SECRET, nested={"a": [SECRET, (SECRET,)]}, **{SECRET: 1})
    logger.info("positional %s", SECRET)
    logging.getLogger("theirs").info("argument %r", {"x": SECRET}, extra={"y": SECRET})
    logging.getLogger("theirs").info("an object", extra={"z": ValueError(SECRET)})
    try:
        fail(SECRET)
    except ValueError:
        logger.exception("ours failed")
        logging.getLogger("theirs").exception("theirs failed")
    logging.captureWarnings(True)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(SECRET, stacklevel=1)

    for spelling in (
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        repr(SECRET)[1:-1],
    ):
        assert spelling not in lines.text
    assert lines.text.count(REDACTED) >= 9
    assert lines.text.count("ValueError") >= 2


@pytest.mark.parametrize(
    "field",
    [
        "api_key",
        "apikey",
        "OPENAI_API_KEY",
        "authorization",
        "password",
        "db_password",
        "access_token",
        "token",
        "cookie",
    ],
)
def test_a_field_that_is_named_like_a_secret_loses_its_value_at_any_depth(field: str) -> None:
    lines = Lines()
    structlog.get_logger().info("x", **{field: "abc"}, inner={field: "abc", "list": [{field: b"abc"}]})
    logging.getLogger("theirs").info("x", extra={field: "abc"})

    assert "abc" not in lines.text


@pytest.mark.parametrize("field", ["prompt_tokens", "keyword", "tokens_max", "idempotency_key_count", "secretary"])
def test_a_field_that_only_sounds_like_a_secret_keeps_its_value(field: str) -> None:
    lines = Lines()
    structlog.get_logger().info("x", **{field: "abc"})

    assert lines.events[0][field] == "abc"


@pytest.mark.parametrize(
    "text",
    [
        "key sk-or-v1-0123456789abcdef0123456789",
        "Authorization: Bearer abcdef.ghijkl-123456",
        "postgresql://app:abcdef123@db.internal:5432/x",
        "pplx-0123456789abcdef0123",
    ],
)
def test_what_looks_like_a_secret_is_not_shown_though_nobody_named_it(text: str) -> None:
    lines = Lines(secrets=())
    logging.getLogger("theirs").warning(text)

    assert REDACTED in lines.text
    assert not any(part in lines.text for part in ("0123456789", "abcdef"))


def test_a_traceback_shows_no_local_variables() -> None:
    for as_json in (True, False):
        lines = Lines(json=as_json)
        try:
            fail("x")
        except ValueError:
            structlog.get_logger().exception("failed")
        assert "raise ValueError" in lines.text
        assert "local x" not in lines.text


def test_an_exception_is_told_outside_of_its_handler_too() -> None:
    lines = Lines()
    try:
        fail("later")
    except ValueError as caught:
        error = caught
    logging.getLogger("theirs").error("a task failed", exc_info=(type(error), error, error.__traceback__))

    assert "ValueError: later" in lines.events[0]["exception"]


def test_levels_are_kept_and_chatty_libraries_are_quiet() -> None:
    lines = Lines(level="info")
    structlog.get_logger().debug("no")
    logging.getLogger("httpx2").info("HTTP Request: GET https://a.example")
    logging.getLogger("httpx2").warning("yes")

    assert [event["event"] for event in lines.events] == ["yes"]


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'LOUD'.*INFO"):
        configure_logging(json=True, level="LOUD")


def test_configuring_twice_gives_each_line_once() -> None:
    Lines()
    lines = Lines()
    logging.getLogger("theirs").info("once")

    assert len(lines.events) == 1


class Claim(BaseModel):
    step: str = "ARTICLE"


class Request(BaseModel):
    claim: Claim = Claim()


class LoggingActivity(ActivityInboundInterceptor):
    def __init__(self) -> None:
        """The innermost interceptor: what it logs stands for the activity."""

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: ARG002
        structlog.get_logger("ours").info("writing")
        activity.logger.info("by temporal's logger")
        logging.getLogger("asyncio").warning("by a library")
        return "done"


@pytest.mark.parametrize(
    ("arguments", "step"), [((Request(),), "ARTICLE"), ((Claim(step="ICP"),), "ICP"), (("x",), None), ((), None)]
)
async def test_every_line_of_an_activity_is_bound_with_workflow_activity_attempt_and_step(
    arguments: tuple[Any, ...], step: str | None
) -> None:
    lines = Lines()
    chain = TelemetryInterceptor().intercept_activity(LoggingActivity())
    request = ExecuteActivityInput(fn=print, args=arguments, executor=None, headers={})

    assert await ActivityEnvironment().run(chain.execute_activity, request) == "done"
    structlog.get_logger().info("afterwards")

    *inside, after = lines.events
    assert len(inside) == 3
    for event in inside:
        assert (event["workflow_id"], event["run_id"], event["attempt"]) == ("test", "test-run", 1)
        assert event["activity"] == "unknown"
        assert event.get("step") == step
        assert "temporal_activity" not in event
    assert "workflow_id" not in after
