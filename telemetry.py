"""Logs: structlog and the standard library's loggers in one stream, bound with workflow, step and attempt.

Secrets don't get out: keys that name one lose their value, and every line is searched for the values themselves
after it is rendered, tracebacks included.
"""

import json as json_format
import logging
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from pydantic import SecretStr
from structlog.types import EventDict, Processor, WrappedLogger
from temporalio import activity, workflow
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

REDACTED = "[redacted]"
SECRET_CHARACTERS_MIN = 6

# Loggers that tell each request at INFO, addresses and all.
_CHATTY_LOGGERS = ("httpx2", "httpcore2", "openai", "asyncio", "trafilatura", "htmldate", "charset_normalizer")
_SECRET_KEY = re.compile(
    r"(?:^|_)(?:api_?keys?|authorization|passwords?|passwd|secrets?|cookies?|credentials?|private_key|token|dsn)$",
    re.IGNORECASE,
)
# What the renderers need as it is.
_NOT_FIELDS = frozenset({"exc_info", "_record", "_from_structlog"})
_SECRET_LOOKS = (
    (re.compile(r"\b(sk|pplx|ghp|xox[bp])-[A-Za-z0-9_-]{16,}"), rf"\1-{REDACTED}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/@]+@"), rf"\1:{REDACTED}@"),
)


def configure_logging(*, json: bool, level: str, secrets: Iterable[SecretStr] = (), stream: Any = None) -> None:
    """Sets the process up once: one line an event to standard error, as JSON or coloured for a person.

    ``level`` is a name such as ``INFO``; raises ValueError for another. ``secrets`` are values that no line shows.
    """
    numeric_level = logging.getLevelNamesMapping().get(level.upper())
    if numeric_level is None:
        raise ValueError(f"the log level is {level!r}; it must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_RedactingFormatter(json, [secret.get_secret_value() for secret in secrets]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(numeric_level)
    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(max(numeric_level, logging.WARNING))
    logging.captureWarnings(True)
    _take_over_temporal_loggers()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _take_over_temporal_loggers() -> None:
    """Their facts come as ``extra`` and become fields; in the message they would stand twice."""
    workflow.logger.workflow_info_on_message = False
    workflow.logger.workflow_info_on_extra = True
    activity.logger.activity_info_on_message = False
    activity.logger.activity_info_on_extra = True


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        redact_secret_keys,
    ]


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """Renders every record, ours and others', and then takes the secrets out of the finished line."""

    def __init__(self, json: bool, secrets: Sequence[str]) -> None:
        # Plain tracebacks: the richer ones show local variables, prompts and keys among them.
        rendering: list[Processor] = (
            [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False, default=str)]
            if json
            else [
                structlog.dev.ConsoleRenderer(
                    colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
                )
            ]
        )
        super().__init__(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), flatten_temporal_facts, *_shared_processors()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
        self._secrets = _spellings(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record), self._secrets)


def _spellings(secrets: Sequence[str]) -> tuple[str, ...]:
    """A secret as it is and as Python, JSON or the one inside the other would escape it, longest first."""
    as_python = {
        form for secret in secrets if len(secret) >= SECRET_CHARACTERS_MIN for form in (secret, repr(secret)[1:-1])
    }
    spellings = as_python | {
        json_format.dumps(form, ensure_ascii=ascii_only)[1:-1] for form in as_python for ascii_only in (True, False)
    }
    return tuple(sorted(spellings, key=len, reverse=True))


def redact_text(text: str, secrets: Sequence[str]) -> str:
    """The text without the secrets given, and without what looks like a key, a bearer token or a URL's password."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    for look, replacement in _SECRET_LOOKS:
        text = look.sub(replacement, text)
    return text


def redact_secret_keys(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor: the value of a field whose name says it is a secret is not shown, at any depth."""
    return {key: value if key in _NOT_FIELDS else _redacted(key, value) for key, value in event.items()}


def _redacted(key: object, value: Any) -> Any:
    if isinstance(key, str) and _SECRET_KEY.search(key) and value is not None:
        return REDACTED
    if isinstance(value, Mapping):
        return {inner: _redacted(inner, item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(None, item) for item in value]
    return value


def flatten_temporal_facts(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor: what Temporal's own loggers tell about the workflow or activity, under our names."""
    facts = event.pop("temporal_workflow", None) or event.pop("temporal_activity", None) or {}
    event.pop("temporal_activity", None)
    for theirs, ours in (
        ("workflow_id", "workflow_id"),
        ("run_id", "run_id"),
        ("workflow_run_id", "run_id"),
        ("activity_type", "activity"),
        ("attempt", "attempt"),
    ):
        if theirs in facts:
            event.setdefault(ours, facts[theirs])
    return event


class TelemetryInterceptor(Interceptor):
    """Binds workflow, run, activity, attempt and, where the request names it, step to every line of an activity.

    Workflow code logs by ``workflow.logger``, which is silent on replay and brings the same facts along.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _ActivityTelemetry(super().intercept_activity(next))


class _ActivityTelemetry(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        facts: dict[str, Any] = {
            "workflow_id": info.workflow_id,
            "run_id": info.workflow_run_id,
            "activity": info.activity_type,
            "attempt": info.attempt,
            "step": _step_of(input.args),
        }
        with structlog.contextvars.bound_contextvars(**{key: fact for key, fact in facts.items() if fact is not None}):
            return await super().execute_activity(input)


def _step_of(arguments: Sequence[Any]) -> str | None:
    """Activities take one model; the step stands in it or in its ``claim``."""
    for argument in arguments:
        step = getattr(argument, "step", None) or getattr(getattr(argument, "claim", None), "step", None)
        if step is not None:
            return str(step)
    return None
