"""Start a tool again with Debian's OpenBLAS, forty times as fast as the BLAS of MLX's wheels."""

import os
import sys

from mlx_gemma4.tune.summary import OPENBLAS


def start_again(module: str, **more: str) -> None:
    """Start this process again with OpenBLAS before its libraries, where that is installed.

    Args:
        module: what runs, as `python -m` takes it.
        more: variables of its environment.
    """
    if OPENBLAS.is_file() and str(OPENBLAS) not in os.environ.get("LD_PRELOAD", ""):
        fast = {"LD_PRELOAD": str(OPENBLAS), "OPENBLAS_NUM_THREADS": "1", **more}
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], os.environ | fast)
