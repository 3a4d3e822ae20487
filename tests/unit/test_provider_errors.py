"""The border: no exception class of the vendors is without a meaning here."""

import inspect
from collections.abc import Iterator

import httpx2
import openai
import openai._exceptions
import pytest

from domain.errors import PermanentError, PipelineError, TransientError
from providers.language_model import NOTHING_SENT, VENDOR_ERRORS, _meaning_of, _nothing_was_sent

# Failures after which the provider may have read, and charged, the request.
PERHAPS_SENT = {
    httpx2.TransportError,
    httpx2.TimeoutException,
    httpx2.ReadTimeout,
    httpx2.WriteTimeout,
    httpx2.NetworkError,
    httpx2.ReadError,
    httpx2.WriteError,
    httpx2.CloseError,
    httpx2.ProtocolError,
    httpx2.LocalProtocolError,
    httpx2.RemoteProtocolError,
    httpx2.SSEError,
}


def walk(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for child in root.__subclasses__():
        yield from walk(child)


def vendor_classes() -> set[type[BaseException]]:
    modules = (openai, openai._exceptions)
    named = {value for module in modules for value in list(vars(module).values()) if inspect.isclass(value)}
    return {value for value in named if issubclass(value, Exception)} | set(walk(openai.OpenAIError))


def test_every_exception_class_of_the_vendor_is_mapped() -> None:
    not_public = {error for error in vendor_classes() if error.__name__ not in openai.__all__}
    ours = {error for error in vendor_classes() if error.__module__.startswith("openai")}

    assert len(ours) > 15
    assert {error.__name__ for error in ours - not_public - set(VENDOR_ERRORS)} == set()
    # What the vendor doesn't publish is mapped by its nearest published parent.
    assert all(any(parent in VENDOR_ERRORS for parent in error.__mro__) for error in not_public & ours)


def test_every_failure_of_a_transport_is_known_as_sent_or_not() -> None:
    classes = {error for error in walk(httpx2.TransportError) if error.__module__.startswith("httpx2")}

    assert classes == PERHAPS_SENT | set(NOTHING_SENT)
    assert set(NOTHING_SENT).isdisjoint(PERHAPS_SENT)


@pytest.mark.parametrize("error", sorted(PERHAPS_SENT, key=lambda error: error.__name__))
def test_what_was_perhaps_sent_is_never_taken_for_unsent(error: type[httpx2.TransportError]) -> None:
    assert not _nothing_was_sent(error("x"))
    wrapped = openai.APIConnectionError(request=httpx2.Request("POST", "http://a.example"))
    wrapped.__cause__ = error("x")
    assert not _nothing_was_sent(wrapped)


@pytest.mark.parametrize("error", NOTHING_SENT)
def test_what_was_not_sent_is_seen_through_the_vendors_wrapping(error: type[httpx2.TransportError]) -> None:
    wrapped = openai.APIConnectionError(request=httpx2.Request("POST", "http://a.example"))
    wrapped.__cause__ = error("x")
    assert _nothing_was_sent(wrapped)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (openai.AuthenticationError, PermanentError),
        (openai.BadRequestError, PermanentError),
        (openai.NotFoundError, PermanentError),
        (openai.RateLimitError, TransientError),
        (openai.InternalServerError, TransientError),
        (openai.APITimeoutError, TransientError),
    ],
)
def test_meanings_are_permanent_or_transient_as_they_should_be(
    error: type[Exception], kind: type[PipelineError]
) -> None:
    assert issubclass(_meaning_of(error), kind)
