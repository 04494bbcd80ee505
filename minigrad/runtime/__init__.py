"""The ground: devices, memory, kernels, threads and the compile cache; the only importer of Numba and llvmlite."""
