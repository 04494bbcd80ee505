"""The ground: devices, memory, kernels, threads and the compile cache; the only part that imports Numba and llvmlite."""
