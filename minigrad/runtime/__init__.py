"""The runtime: devices, memory, kernels, threads and the compile cache; the only importer of Numba and llvmlite."""

import os

from ..checks import brief
from ..errors import ValidationError

MAX_THREADS = 1024


def _check_num_threads() -> None:
    """Refuse a number of threads that makes the import of Numba fail or warn."""
    wanted = os.environ.get("NUMBA_NUM_THREADS", "1").strip()
    if not wanted.isdecimal() or not 1 <= int(wanted) <= MAX_THREADS:
        raise ValidationError(
            f"minigrad: the environment variable NUMBA_NUM_THREADS is {brief(wanted)}; unset it, or use a whole number "
            f"from 1 to {MAX_THREADS}"
        )


_check_num_threads()
