"""What DOCX and XLSX have in common: packages of parts (ECMA-376-2) with relations and core properties. Pure."""

from posixpath import dirname, join, normpath
from typing import Final

from cloud.knowledge.extraction import xml_part
from cloud.knowledge.extraction.archive import Archive
from cloud.knowledge.extraction.reasons import Reason, refused

_CORE_PROPERTIES: Final = "docProps/core.xml"


def main_part(archive: Archive) -> str:
    """The name of the document itself. Raises `RefusedError` when the package has none."""
    for kind, target in relations(archive, "_rels/.rels", "").items():
        if kind == "officeDocument" and target in archive.names:
            return target
    raise refused(Reason.BROKEN, "The file is damaged (it has no document in it); save it anew.")


def relations(archive: Archive, name: str, folder: str) -> dict[str, str]:
    """Last word of the relation's type -> part; the first of each type, and only what is inside the package."""
    tree = xml_part.tree(archive, name)
    found: dict[str, str] = {}
    for relation in tree if tree is not None else ():
        target = relation.get("Target", "")
        if relation.get("TargetMode") == "External" or not target:
            continue
        part = target.lstrip("/") if target.startswith("/") else normpath(join(folder, target))
        found.setdefault(relation.get("Type", "").rpartition("/")[2], part)
    return found


def relations_of(archive: Archive, part: str) -> dict[str, str]:
    folder, name = dirname(part), part.rpartition("/")[2]
    return relations(archive, join(folder, "_rels", f"{name}.rels"), folder)


def core_title(archive: Archive) -> str:
    """The title among the properties; "" when there is none."""
    tree = xml_part.tree(archive, _CORE_PROPERTIES)
    title = xml_part.child(tree, "title") if tree is not None else None
    return (title.text or "").strip() if title is not None else ""
