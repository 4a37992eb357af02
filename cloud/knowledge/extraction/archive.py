"""The ZIP of an Office file, opened as if it came from an enemy. No file system: parts are read by exact name.

Before anything is unpacked: the size of the directory, the number of entries, what they say to unpack to (one,
and all), and how many times their packed size that is. Refused: encrypted entries, one name twice (readers
differ in which they take), paths that lead out, ways to pack other than stored and deflate. While unpacking, an
entry that turns out longer than it said, or has another checksum, is broken; `zipfile` stops at the length
said.
"""

import struct
import zipfile
import zlib
from io import BytesIO
from typing import Final

from cloud.knowledge.extraction.limits import MIB, ExtractionLimits
from cloud.knowledge.extraction.reasons import Reason, refused
from shared.errors import RefusedError

_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_COMMENT_MAX_BYTES: Final = 65_535
_LOCATOR64: Final = b"PK\x06\x07"
_LOCATOR64_BYTES: Final = 20
_ENTRY_BYTES: Final = 46 + 256
"""An entry of the directory: its fixed part, and a name longer than Office files have."""
_READ_BYTES: Final = 1_048_576


class Archive:
    """Raises `RefusedError` for what no Office program writes."""

    def __init__(self, content: bytes, limits: ExtractionLimits) -> None:
        self._limits = limits
        self._unpacked = 0
        _check_directory(content, limits)
        try:
            self._zip = zipfile.ZipFile(BytesIO(content))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError) as error:
            raise _broken() from error
        entries = self._zip.infolist()
        if len(entries) > limits.archive_max_entries:
            raise _too_many(limits)
        for entry in entries:
            self._check(entry)
        if len({entry.filename.lower() for entry in entries}) < len(entries):
            raise refused(Reason.UNSAFE, "The file holds two parts of one name, so it is not read.")
        total = sum(entry.file_size for entry in entries)
        if total > limits.archive_max_bytes:
            raise refused(
                Reason.TOO_LARGE,
                f"The file unpacks to {total:,} bytes; at most {limits.archive_max_bytes:,} are read.",
            )
        self.names: Final = frozenset(entry.filename for entry in entries if not entry.is_dir())

    def part(self, name: str) -> bytes | None:
        """The part unpacked, or None when there is none of that name."""
        if name not in self.names:
            return None
        pieces: list[bytes] = []
        with self._open(name) as part:
            while piece := self._piece(part):
                pieces.append(piece)
        return b"".join(pieces)

    def _open(self, name: str) -> zipfile.ZipExtFile:
        try:
            part = self._zip.open(name)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
            raise _broken() from error
        assert isinstance(part, zipfile.ZipExtFile)
        return part

    def _piece(self, part: zipfile.ZipExtFile) -> bytes:
        try:
            piece = part.read(_READ_BYTES)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise _broken() from error
        # Parts may be read again, and entries may share their packed bytes: what counts is what was unpacked.
        self._unpacked += len(piece)
        if self._unpacked > 2 * self._limits.archive_max_bytes:
            raise refused(Reason.TOO_LARGE, "The file unpacks to more than its directory says.")
        return piece

    def _check(self, entry: zipfile.ZipInfo) -> None:
        if entry.flag_bits & 0x1:
            raise refused(Reason.ENCRYPTED, "The file is encrypted; save it without a password.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _broken()
        # `filename` ends at a NUL; the original tells whether there was one.
        name = entry.orig_filename
        if name.startswith("/") or "\0" in name or "\\" in name or ":" in name or ".." in name.split("/"):
            raise refused(
                Reason.UNSAFE, "The file holds a part whose path leads out of it, so it is not read."
            )
        if entry.file_size > self._limits.archive_part_max_bytes:
            raise refused(
                Reason.TOO_LARGE,
                f"A part of the file unpacks to {entry.file_size:,} bytes; "
                f"at most {self._limits.archive_part_max_bytes:,} are read.",
            )
        packed = max(entry.compress_size, 1)
        if entry.file_size > MIB and entry.file_size > packed * self._limits.archive_max_ratio:
            raise refused(
                Reason.TOO_LARGE,
                f"A part of the file unpacks to more than {self._limits.archive_max_ratio} times its size, "
                "as ZIP bombs do.",
            )


def _check_directory(content: bytes, limits: ExtractionLimits) -> None:
    """Its size, before `zipfile` makes an object of each entry. Finds the end record as `zipfile` does.

    An archive of ZIP64 would need more than 4 GiB or 65,535 entries, which no document has.
    """
    at = len(content) - _END_BYTES
    if at < 0:
        raise _broken()
    if not (content[at:].startswith(_END) and content.endswith(b"\0\0")):
        at = content.rfind(_END, max(len(content) - _END_BYTES - _COMMENT_MAX_BYTES, 0))
    if at < 0 or at + _END_BYTES > len(content):
        raise _broken()
    if content[max(at - _LOCATOR64_BYTES, 0) :].startswith(_LOCATOR64):
        raise refused(Reason.TOO_LARGE, "The file is a ZIP64 archive, which no document of ours needs.")
    entries, directory_bytes = struct.unpack_from("<HL", content, at + 10)
    if entries > limits.archive_max_entries or directory_bytes > limits.archive_max_entries * _ENTRY_BYTES:
        raise _too_many(limits)


def _too_many(limits: ExtractionLimits) -> RefusedError:
    return refused(
        Reason.TOO_COMPLEX, f"The file holds more than {limits.archive_max_entries:,} parts; it is not read."
    )


def _broken() -> RefusedError:
    return refused(
        Reason.BROKEN, "The file is damaged (its ZIP cannot be read); open and save it with its own program."
    )
