"""Compile every kernel into NUMBA_CACHE_DIR by analysing our own captures once: `TAPWALL_JIT=on python bench/warm.py`.

Run when an image is built, so that a container's first capture does not wait for the compiler.
"""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Analyse all captures of the project and say how long compiling took."""
    from analysis.run import analyse

    start = time.perf_counter()
    for capture in sorted((ROOT / "captures").glob("*.pcap*")):
        analyse([str(capture)])
    print(f"kernels compiled in {time.perf_counter() - start:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
