"""The errors of Covey, cut by what a caller does about them.

    CoveyError
      ProtocolError        the peer broke the contract           never retry
      RefusedError         the peer understood and said no       never retry unchanged
        ConflictError      somebody else changed it meanwhile    look at `current`, decide anew
      UnavailableError     network, broker, disk busy            retry with backoff
      CapacityError        one of our bounds was reached         shed or wait; the bound is an attribute
      ConfigError          the operator must act                 stop with exit code 78

The message is one sentence a person can act on; context lives in attributes. Errors do not log, print or exit.
"""

from collections.abc import Mapping


class CoveyError(Exception):
    """Root of every error that crosses a module boundary on purpose. `code` is stable and safe to show."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ProtocolError(CoveyError):
    """The peer broke the contract. Retrying the same bytes cannot help."""

    code = "protocol"


class RefusedError(CoveyError):
    """The peer understood and said no. Do not retry unchanged."""

    code = "refused"


class ConflictError(RefusedError):
    """What was to be changed is not what the caller had seen. `current` is what it is now, as JSON values."""

    code = "conflict"

    def __init__(self, message: str, *, current: Mapping[str, object], code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.current = current


class UnavailableError(CoveyError):
    """A network, broker, disk or model is not there right now. Retry with back-off."""

    code = "unavailable"


class CapacityError(CoveyError):
    """One of our own bounds was reached. `bound` names the setting, `limit` its value in the setting's unit."""

    code = "capacity"

    def __init__(self, message: str, *, bound: str, limit: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.bound = bound
        self.limit = limit


class ConfigError(CoveyError):
    """The operator must act: a setting, a file or a key is wrong or missing. The process exits with code 78."""

    code = "config"
