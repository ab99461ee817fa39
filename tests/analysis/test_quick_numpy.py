"""numpy imported quickly is numpy all the same."""

from __future__ import annotations

import subprocess
import sys

QUICK = "import sys; from analysis.quick_numpy import import_numpy; import_numpy(); "


def loaded(code: str) -> str:
    """What a fresh interpreter prints after `code`."""
    return subprocess.run([sys.executable, "-c", QUICK + code], capture_output=True, text=True, check=True).stdout


def test_what_nobody_reads_is_not_loaded() -> None:
    """Neither the documentation of C functions nor types for annotations, nor what stood in their places."""
    assert (
        loaded("print([m for m in sys.modules if 'newdocs' in m or '_typing.' in m or m == 'numpy._typing'])") == "[]\n"
    )


def test_who_asks_later_gets_everything() -> None:
    """Typing, linear algebra, masked arrays and pandas work, as does a second import."""
    code = (
        "import_numpy(); import numpy as np, numpy.typing as npt, numpy.ma, pandas;"
        "from numpy._typing import ArrayLike;"
        "print('int8' in str(npt.NDArray[np.int8]), np.linalg.det(np.eye(2)), np.ma.masked_equal([1, 2], 2).sum(),"
        " pandas.DataFrame({'a': np.arange(3)}).a.sum())"
    )

    assert loaded(code) == "True 1.0 1 3\n"


def test_names_that_numpy_comes_to_need_are_the_real_ones() -> None:
    """A later numpy that imports more of its types gets them."""
    code = (
        "from analysis import quick_numpy; stub = quick_numpy._Types('numpy._typing');"
        "sys.modules['numpy._typing'] = stub; from numpy._typing import ArrayLike; print(stub.DTypeLike is not None)"
    )

    assert loaded(code) == "True\n"
