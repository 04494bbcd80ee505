"""A plugin of pytest for a driver that executes PTX without a GPU: kernels are not linked to machine code.

    pytest -p emulated_driver -o addopts="" tests/on_cuda.py

With EXACT=1 the pool hands out exact sizes, so that an access beyond an array leaves its memory.
"""

import os

from minigrad.runtime.cuda import driver, pool

assert not driver.SIMULATED, "unset NUMBA_ENABLE_CUDASIM: this plugin is for compiled kernels"

driver.link = lambda ptx, capability: ptx.encode() + b"\0"
if os.environ.get("EXACT"):
    pool.round_up = lambda nbytes: max(nbytes, 1)
