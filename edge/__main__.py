"""`covey-edge`: call, and turn every error into one sentence and an exit code."""

import logging
import os
import sys
from typing import Final, NoReturn

from edge.run import run_plainly
from shared.errors import (
    CapacityError,
    ConfigError,
    CoveyError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)

EXIT_CODES: Final = (
    (ConfigError, 78),
    (RefusedError, 77),
    (ProtocolError, 76),
    (CapacityError, 75),
    (UnavailableError, 69),
)
"""After sysexits.h: EX_CONFIG, EX_NOPERM, EX_PROTOCOL, EX_TEMPFAIL, EX_UNAVAILABLE."""
EXIT_SOFTWARE: Final = 70

logger = logging.getLogger(__name__)
# Until `run` says where the log goes, a traceback is not for the person at the terminal.
logging.getLogger().addHandler(logging.NullHandler())


def main() -> None:
    """Entry point of the console script."""
    try:
        _check_text(sys.argv[1:])
        if not run_plainly(sys.argv[1:]):
            from edge.commands import command_line  # here, so that the daemon does without it

            command_line()
    except CoveyError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone (`covey-edge journal tail | head`); that is no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        reason = error.strerror or error
        _fail(
            UnavailableError(
                f"The system refused ({reason}); check the disk, its permissions and the network."
            )
        )
    except Exception as error:
        logger.exception("an internal error")  # a daemon's log has the traceback; a person gets the sentence
        print(
            f"covey-edge: an internal error ({type(error).__name__}); please report it with what you typed.",
            file=sys.stderr,
        )
        sys.exit(EXIT_SOFTWARE)


def _check_text(arguments: list[str]) -> None:
    """Python lets bytes that are no UTF-8 through as halves of surrogate pairs, which nothing behind could store."""
    for argument in arguments:
        if not argument.isascii() and any("\ud800" <= character <= "\udfff" for character in argument):
            raise RefusedError("What you typed holds bytes that are not UTF-8; type or paste it again.")


def _fail(error: CoveyError) -> NoReturn:
    print(f"covey-edge: {error}", file=sys.stderr)
    sys.exit(next((code for kind, code in EXIT_CODES if isinstance(error, kind)), EXIT_SOFTWARE))


if __name__ == "__main__":
    main()
