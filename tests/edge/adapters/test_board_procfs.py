"""What a Linux board tells: read from files as they are on real boards, and from this machine."""

from pathlib import Path

import pytest

from edge.adapters.board_procfs import ProcfsBoard

MEMINFO = (
    "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     400 kB\nHugePages_Total:       0\n"
)


def files(root: Path, contents: dict[str, str]) -> None:
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")


def board(tmp_path: Path) -> ProcfsBoard:
    return ProcfsBoard(disk=tmp_path, proc=tmp_path / "proc", sys=tmp_path / "sys")


def told(by: ProcfsBoard) -> dict[str, float]:
    return {measured.name: measured.value for measured in by.measure()}


def test_processor_share_is_of_the_time_between_two_readings(tmp_path: Path) -> None:
    its = board(tmp_path)
    files(tmp_path, {"proc/stat": "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1\n"})
    assert "cpu.share" not in told(its)
    files(tmp_path, {"proc/stat": "cpu  150 0 125 750 175 0 0 0 99 0\ncpu0 1 1 1 1\n"})
    assert told(its)["cpu.share"] == 0.375
    assert "cpu.share" not in told(its)  # no time has passed


def test_memory_that_programs_can_have_is_available(tmp_path: Path) -> None:
    files(tmp_path, {"proc/meminfo": MEMINFO})
    assert told(board(tmp_path))["memory.available"] == 400 * 1024
    assert told(board(tmp_path))["memory.used"] == 600 * 1024


def test_temperature_is_the_hottest_plausible_one(tmp_path: Path) -> None:
    files(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/temp": "48123\n",
            "sys/class/thermal/thermal_zone1/temp": "-274000\n",
            "sys/class/thermal/thermal_zone2/temp": "no\n",
            "sys/class/hwmon/hwmon0/temp1_input": "51500\n",
        },
    )
    assert told(board(tmp_path))["temperature"] == 51.5


def test_board_that_tells_nothing_lacks_the_series(tmp_path: Path) -> None:
    assert set(told(board(tmp_path))) == {"disk.free"}


@pytest.mark.parametrize("text", ["", "cpu\n", "cpu  a b c d e\n"])
def test_file_of_another_shape_is_left_out(tmp_path: Path, text: str) -> None:
    files(tmp_path, {"proc/stat": text, "proc/meminfo": text, "proc/self/statm": text})
    its = board(tmp_path)
    told(its)
    assert set(told(its)) == {"disk.free"}


def test_this_machine_tells_plausible_values(tmp_path: Path) -> None:
    its = ProcfsBoard(disk=tmp_path)
    its.measure()
    found = told(its)
    assert 1_000_000 < found["process.rss"] < found["memory.used"] + found["memory.available"]
    assert found["disk.free"] > 0
    assert 0 <= found.get("cpu.share", 0.0) <= 1
