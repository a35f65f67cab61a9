"""Errors while serving requests, independent of HTTP.

ServiceError
├── InvalidRequest            the client can correct it
│   ├── UnsupportedMediaType  not an image, or a format outside the allow-list
│   ├── ImageTooLarge         too many bytes or too many pixels
│   ├── ImageUndecodable      empty, truncated or broken image data
│   └── InvalidParameter      a query or body value outside its range
├── ModelNotFound             no such model, version or task
├── Conflict                  an operator's request contradicts what is served, or the repository
├── Unavailable               retry later
│   ├── QueueFull             carries ``retry_after_seconds``
│   ├── Overloaded            the same; there is room, but the answer would come too late
│   ├── RateExceeded          the same; this client sends too many requests
│   ├── ModelNotReady
│   └── ShuttingDown
├── DeadlineExceeded          the answer would come too late
└── InferenceFailed           a server fault; logged with its traceback

Start-up errors are separate, because no client ever sees them: ``StartupError`` <- ``InvalidManifest``,
``SelfTestFailed``. They name the file they are about.

``emo_serve.api.wire.problems`` holds the one table from these to HTTP status codes.
"""


class ServiceError(Exception):
    """An error that ends one request with a problem document; ``str(error)`` is its detail."""


class InvalidRequest(ServiceError):
    """The request is invalid; the detail says what is wrong and what is allowed."""


class UnsupportedMediaType(InvalidRequest):
    """The body is not an image of an allowed format."""


class ImageTooLarge(InvalidRequest):
    """The image has more bytes, pixels or decoding work than the limits allow."""


class ImageUndecodable(InvalidRequest):
    """The image data is empty, truncated or broken."""


class InvalidParameter(InvalidRequest):
    """A parameter is outside its range or names something unknown."""


class ModelNotFound(ServiceError):
    """No model of that name, version or task is served."""


class Conflict(ServiceError):
    """An operator's request contradicts what is served or what is in the repository."""


class Unavailable(ServiceError):
    """The service cannot take the request now."""

    def __init__(self, detail: str, retry_after_seconds: float | None = None) -> None:
        """``retry_after_seconds``: when to retry; None if unknown."""
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class QueueFull(Unavailable):
    """The queue is full; refused at once instead of answered late."""


class Overloaded(Unavailable):
    """The answer would come after the request's deadline; refused at once."""


class RateExceeded(Unavailable):
    """This client sends more requests than allowed; others are answered."""


class ModelNotReady(Unavailable):
    """The model is known but not, or no longer, able to answer."""


class ShuttingDown(Unavailable):
    """The process is draining and takes no new work."""


class DeadlineExceeded(ServiceError):
    """The answer did not come before the request's deadline."""


class InferenceFailed(ServiceError):
    """The model failed on this image; the cause is chained and logged."""


class StartupError(Exception):
    """A model cannot be served; the message names the file."""


class InvalidManifest(StartupError):
    """A manifest, its labels or its files do not fit together."""


class InvalidSignature(StartupError):
    """A version is not signed, or its files are not those that were signed."""


class SelfTestFailed(StartupError):
    """The model does not reproduce its golden pair."""
