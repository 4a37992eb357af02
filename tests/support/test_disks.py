"""The failing disks fail as disks do, for other processes too."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.disks import SmallDisk, can_mount, limit_writes

WAIT_S = 10.0
WRITER = """
import os, sys
sys.stdin.readline()
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
try:
    os.write(fd, bytes(100))
    print(0, flush=True)
except OSError as error:
    print(error.errno, flush=True)
"""


def test_a_small_disk_that_is_full_refuses_and_takes_again_when_freed(tmp_path: Path) -> None:
    if not can_mount():
        pytest.fail("mounting a small disk needs root; run the suite as root", pytrace=False)
    with SmallDisk(tmp_path / "disk", size_bytes=1_048_576) as disk:
        file = disk.path / "file"
        file.write_bytes(bytes(1_000))
        disk.fill()
        with pytest.raises(OSError, match="space") as refused:
            (disk.path / "more").write_bytes(bytes(100_000))
        assert refused.value.errno == errno.ENOSPC
        disk.free()
        (disk.path / "more").write_bytes(bytes(100_000))
    assert not (tmp_path / "disk" / "file").exists()


def test_writes_of_another_account_s_process_can_be_refused_too(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.fail("a process of another account needs root; run the suite as root", pytrace=False)
    with subprocess.Popen(["sleep", str(WAIT_S)], user="nobody") as sleeper:
        assert limit_writes(sleeper.pid, 0)
        limits = Path(f"/proc/{sleeper.pid}/limits").read_text()
        sleeper.kill()
    assert re.search(r"Max file size +0 +unlimited", limits)


@pytest.mark.parametrize(("limit", "seen"), [(0, errno.EFBIG), (50, 0), (None, 0)])
def test_another_process_s_writes_can_be_refused_beyond_a_size(
    tmp_path: Path, limit: int | None, seen: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path / "file"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert limit_writes(writer.pid, limit)
        assert int(writer.communicate("go\n", timeout=WAIT_S)[0]) == seen
    if limit == 50:
        assert (tmp_path / "file").stat().st_size == limit
    assert not limit_writes(writer.pid, None)
