"""What all pages have around their content: where one is, whether the page is live, and the way out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nicegui import context

from cloud.dashboard.door import ACCOUNT_PATH, HOME_PATH, MEMORY_PATH, SIGN_OUT_PATH
from cloud.dashboard.elements import Button, LiveState, Tag, Text
from cloud.dashboard.forms import CSRF_FIELD, signed_in_at
from cloud.dashboard.shown import shown


@contextmanager
def frame(at_ms: int, on_pause: Callable[[bool], None]) -> Iterator[LiveState]:
    """The page's head around the block, which makes its content. `on_pause`: a person stops the news, or wants them."""
    signed_in = signed_in_at(context.client.request)
    Text("a", "Skip to the content", "skip", href="#content")
    # NiceGUI's page is a `main` element, and what is in one is no banner by itself.
    with Tag("header", "top", role="banner"):
        Text("a", "Covey", "brand", href=HOME_PATH)
        with Tag("nav", aria_label="Pages"):
            _page_link("Fleet", HOME_PATH)
            _page_link("Memory", MEMORY_PATH)
        live = LiveState(at_ms)
        _pause_button(live, on_pause)
        where = signed_in.caller.tenant or "all tenants"
        Text("a", f"{shown(signed_in.caller.name)} · {where}", "account", href=ACCOUNT_PATH)
        with Tag("form", "sign-out", method="post", action=SIGN_OUT_PATH):
            Tag("input", type="hidden", name=CSRF_FIELD, value=signed_in.csrf_token)
            Text("button", "Sign out", "button", type="submit")
    with Tag("div", "content", id="content", tabindex="-1"):
        yield live


def _page_link(name: str, path: str) -> None:
    is_here = context.client.request.url.path.rstrip("/") == path.rstrip("/")
    Text("a", name, href=path, aria_current="page" if is_here else None)


def _pause_button(live: LiveState, on_pause: Callable[[bool], None]) -> None:
    is_paused = False

    def turn() -> None:
        nonlocal is_paused
        is_paused = not is_paused
        button.show("Go on" if is_paused else "Pause")
        live.pause(is_paused=is_paused)
        on_pause(is_paused)

    button = Button("Pause", turn)


def empty_state(title: str, text: str, *commands: str) -> None:
    """Nothing is there: what to do about that."""
    Text("h2", title)
    Text("p", text)
    for command in commands:
        command_line(command)


def command_line(command: str) -> None:
    """A command to copy."""
    with Tag("pre", "command"):
        Text("code", command)
