"""A board that takes an old one's place fetches its logs from the hub before the daemon starts (rule P27). Blocks.

`restore.token` in the identity folder holds what entitles to it, from enrolment until the store is there; with it the
daemon does not start, so that it never begins an empty log by mistake.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from edge.adapters.store_sqlite.restore import has_history, restore_store
from edge.key_files import TICKET
from shared.enrolment import Token
from shared.errors import ConfigError, ProtocolError, RefusedError
from shared.ids import Lane
from shared.keys import SIGNATURE_BYTES, Signer
from shared.restore import RESTORE_PATH, RestoredPage, RestoreRequest, restore_proof_input

Post = Callable[[str, str], bytes]
"""Post a JSON body to a path of the hub, over a connection that its authority vouches for; returns the answer."""


def must_restore(folder: Path) -> bool:
    """Whether the board has enrolled in an old one's place and has not fetched its logs yet."""
    return (folder / TICKET).exists()


def check_room(token: Token, store: Path) -> None:
    """Before the token is spent. Raises `RefusedError` (code `has_history`) for a board with a log of its own."""
    if token.replaces and has_history(store):
        raise RefusedError(
            f"This token is for a new board, and this one has worked already: move {store} away first, or enrol this"
            " board under a name of its own.",
            code="has_history",
        )


def restore(
    folder: Path,
    store: Path,
    signer: Signer,
    post: Post,
    on_progress: Callable[[Lane, int, int], None],
) -> dict[Lane, int]:
    """Fetch the logs and make the store; returns how many records each log has. May be tried again at any time.

    `on_progress`: lane, records so far, records in all. Raises `RefusedError` (codes `not_replacing`, `has_history`, or
    the hub's), `ProtocolError`, `UnavailableError`, `ConfigError`.
    """
    path = folder / TICKET
    if not path.exists():
        raise RefusedError("This device does not wait for the logs of an old board.", code="not_replacing")
    try:
        token = Token.parse(path.read_text(encoding="ascii", errors="replace"))
    except ConfigError as error:
        raise ConfigError(
            f"{path} is damaged; make another token with `covey-hub device replace`, remove {folder}, and enrol again."
        ) from error
    counts = restore_store(store, lambda lane: _pages(token, signer, lane, post, on_progress))
    path.unlink()
    return counts


def _pages(
    token: Token, signer: Signer, lane: Lane, post: Post, on_progress: Callable[[Lane, int, int], None]
) -> Iterator[RestoredPage]:
    after = 0
    while True:
        fields = {"token_id": token.id, "secret": token.secret, "lane": lane.value, "after": after}
        request = RestoreRequest.model_validate({**fields, "proof": bytes(SIGNATURE_BYTES)})
        request = request.model_copy(update={"proof": signer.sign(restore_proof_input(request))})
        try:
            page = RestoredPage.from_bytes(post(RESTORE_PATH, request.model_dump_json()))
        except ValidationError as error:
            raise ProtocolError("The hub's answer is not a page of a log.") from error
        if page.lane != lane:
            raise ProtocolError("The hub answered with a page of another log.")
        yield page
        after = page.first - 1 + len(page.records)
        on_progress(lane, after - page.tail + 1, page.head - page.tail + 1)
        if page.epoch is None or after >= page.head:
            return
        if not page.records:
            raise ProtocolError("The hub's copy of the log breaks off.")
