"""XML parts of an Office file: no document type, so no entities of its own, inside or outside (ECMA-376-2, 6.2.5).

Expat reads nothing but the bytes that it is given. A first pass up to the root element refuses a DOCTYPE in
whatever encoding; only then the tree is built. Sets of elements are named by their namespace's last words:
transitional and strict documents (ISO/IEC 29500) use different namespaces for the same things, so readers here
ask for local names.
"""

import xml.etree.ElementTree as ET
from typing import Final
from xml.parsers import expat

from cloud.knowledge.extraction.archive import Archive
from cloud.knowledge.extraction.reasons import Reason, refused
from shared.errors import RefusedError

Element = ET.Element
_PROLOG_STEP_BYTES: Final = 65_536


def tree(archive: Archive, name: str) -> Element | None:
    """The part as a tree, or None when there is none of that name."""
    content = archive.part(name)
    if content is None:
        return None
    refuse_document_type(content)
    try:
        return ET.fromstring(content)  # noqa: S314 - without a document type there is nothing to expand
    except (ET.ParseError, ValueError, LookupError) as error:
        raise _broken() from error


def refuse_document_type(content: bytes) -> None:
    """Raises `RefusedError` when the prolog has a DOCTYPE, or is no XML."""
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    root_seen: list[str] = []
    parser.StartElementHandler = lambda name, _attributes: root_seen.append(name) if not root_seen else None
    try:
        for at in range(0, len(content), _PROLOG_STEP_BYTES):
            parser.Parse(content[at : at + _PROLOG_STEP_BYTES], False)
            if root_seen:
                return
    except (expat.ExpatError, ValueError, LookupError) as error:
        if not root_seen:  # what is wrong after the root's start, the second pass will say
            raise _broken() from error


def local(element: Element) -> str:
    """The name without its namespace."""
    return element.tag.rpartition("}")[2]


def attribute(element: Element, name: str) -> str | None:
    """By local name, in whatever namespace."""
    for key, value in element.attrib.items():
        if key.rpartition("}")[2] == name:
            return value
    return None


def child(element: Element, name: str) -> Element | None:
    for one in element:
        if local(one) == name:
            return one
    return None


def _refuse(*_: object) -> None:
    raise refused(
        Reason.UNSAFE, "The file's XML declares entities of its own, as attacks do, so it is not read."
    )


def _broken() -> RefusedError:
    return refused(
        Reason.BROKEN, "The file is damaged (its XML cannot be read); open and save it with its own program."
    )
