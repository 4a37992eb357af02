"""Building blocks of the pages beyond NiceGUI's own: plain HTML elements with text, and three small Vue components.

Text reaches the browser as text: as a child of an element (Vue makes a text node of it) or in a prop. Nothing here,
nor in the pages, uses `ui.html`, `ui.markdown`, slots with templates, or a prop's string form with text in it.

Attributes are named as in Python: `aria_label` is `aria-label`, `for_` is `for`; None takes one away.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

LIBRARY: Final = "web/covey.js"

Props = str | int | bool


class Tag(Element):
    """An HTML element for others to stand in."""

    def __init__(self, tag: str, classes: str = "", **props: Props | None) -> None:
        super().__init__(tag)
        self.classes(classes)
        self.attributes(**props)

    def attributes(self, **props: Props | None) -> None:
        """Set attributes; nothing is sent of those that are so already."""
        _set(self, props)


class Text(TextElement):
    """An HTML element with text in it."""

    def __init__(self, tag: str, text: str, classes: str = "", **props: Props | None) -> None:
        super().__init__(tag=tag, text=text)
        self.classes(classes)
        _set(self, props)

    def attributes(self, **props: Props | None) -> None:
        """As `Tag.attributes`."""
        _set(self, props)

    def show(self, text: str) -> None:
        """Another text; nothing is sent if it is the same."""
        if self.text != text:
            self.set_text(text)


class Button(Text):
    """A button that calls on the server."""

    def __init__(
        self, text: str, on_click: Callable[[], Any], classes: str = "", **props: Props | None
    ) -> None:
        super().__init__("button", text, f"button {classes}", type="button", **props)
        self.on("click", lambda _: on_click(), args=[])


class Age(Element, component="web/age.js", dependencies=[LIBRARY]):
    """How long ago something was, ticking in the browser. `at_ms` None shows `never`."""

    def __init__(self, at_ms: int | None, *, never: str = "never", after: str = " ago") -> None:
        super().__init__()
        self.props.update(at=at_ms, never=never, after=after)

    def show(self, at_ms: int | None) -> None:
        if self.props["at"] != at_ms:
            self.props["at"] = at_ms


class FleetRow(Element, component="web/fleet_row.js", dependencies=[LIBRARY]):
    """A device's row (`cells.row_cells`). Only rows whose values changed are sent."""

    def __init__(self, cells: dict[str, Any]) -> None:
        super().__init__()
        self.props["row"] = cells

    def show(self, cells: dict[str, Any]) -> None:
        if self.props["row"] != cells:
            self.props["row"] = cells


class LiveState(Element, component="web/live_state.js", dependencies=[LIBRARY]):
    """Whether what is shown is of now. Each answer of the poller moves `at`: so the browser knows the hub's clock."""

    def __init__(self, at_ms: int) -> None:
        super().__init__()
        self.props.update(at=at_ms, problem="", paused=False)

    def beat(self, at_ms: int) -> None:
        self.props.update(at=at_ms, problem="")

    def fail(self, problem: str) -> None:
        if self.props["problem"] != problem:
            self.props["problem"] = problem

    def pause(self, *, is_paused: bool) -> None:
        self.props["paused"] = is_paused


def _set(element: Element, props: Mapping[str, Props | None]) -> None:
    for name, value in props.items():
        attribute = name.rstrip("_").replace("_", "-")
        if element.props.get(attribute) != value:
            element.props.set_optional(attribute, value)
