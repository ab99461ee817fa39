"""Measure precision and recall of every detector on the cases and write results.md (docs/findings.md ends with it).

`python tests/cases/measure.py [--check]`, then `python docs/generate.py`. Prints every case that is not as expected.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from cases import RESULTS, all_cases, analysed, complaint, page, told  # noqa: E402


def main() -> int:
    """1 if a case fails, or with --check if the page is not up to date."""
    only = [one for one in sys.argv[1:] if not one.startswith("-")]
    cases = [case for case in all_cases() if not only or any(case.id.startswith(one) for one in only)]
    results, bad = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            results[case.id] = told(analysed(case, Path(folder)))
            if words := complaint(case, results[case.id]):
                bad += 1
                print(f"{case.id}: {words}")
            elif only:
                print(f"{case.id}: as expected; {results[case.id]}")
    if only:
        return int(bool(bad))
    text = page(results, cases)
    if "--check" in sys.argv[1:]:
        stale = not RESULTS.exists() or RESULTS.read_text(encoding="utf-8") != text
        print("results.md is not up to date" if stale else "results.md is up to date")
        return int(bool(bad) or stale)
    RESULTS.write_text(text, encoding="utf-8")
    print(f"{len(cases)} cases, {bad} not as expected; wrote {RESULTS.relative_to(ROOT)}")
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
