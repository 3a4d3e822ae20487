"""Log lines of a command: warnings and worse, on standard error. Standard output is for the command's result alone."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from structlog.types import EventDict, WrappedLogger

from config import LogFormat, Settings

LEVEL = logging.WARNING


@contextmanager
def logging_to_standard_error(settings: Settings, *, as_json: bool) -> Iterator[None]:
    """As a worker logs, secrets taken out, from WARNING; a JSON object a line under ``as_json`` or where settings say
    so. Logging is of the whole process: it goes back to what it was.

    The formats are loaded with the first line that is written: they bring Temporal's library along, most commands
    write none, and many need no Temporal.
    """
    root, known = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    first = _FirstLine(settings, as_json=as_json)
    root.handlers[:] = [first]
    root.setLevel(LEVEL)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, first.told],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
        structlog.configure(**known)


class _FirstLine(logging.Handler):
    """Sets logging up in earnest, and has the line that came to it written."""

    def __init__(self, settings: Settings, *, as_json: bool) -> None:
        super().__init__()
        self._settings = settings
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        self._configure()
        logging.getLogger(record.name).handle(record)

    def told(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """A processor of structlog's; it ends here, and begins anew."""
        self._configure()
        getattr(structlog.get_logger(logger.name), method)(**event)
        raise structlog.DropEvent

    def _configure(self) -> None:
        from telemetry import configure_logging

        configure_logging(
            json=self._as_json or self._settings.log_format is LogFormat.JSON,
            level=logging.getLevelName(LEVEL),
            secrets=self._settings.secrets,
            stream=sys.stderr,
        )
