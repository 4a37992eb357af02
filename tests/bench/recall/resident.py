"""`python -m tests.bench.recall.resident DIR`: the resident bytes of a process with that library open and searched."""

import sys
from contextlib import closing
from pathlib import Path

from shared.retrieval.search import query_of
from shared.retrieval.vectors import quantised
from tests.bench.recall.shelf import NAME, open_library


def main(directory: Path) -> int:
    with closing(open_library(directory)) as library:
        query = query_of("systems of equations", quantised([float(number % 7 - 3) for number in range(384)]))
        library.search(query, [NAME], limit=10)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(pages * 4_096)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
