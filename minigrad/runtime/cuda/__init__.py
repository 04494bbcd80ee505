"""The GPU: the driver, memory, arrays that live there, and kernels written with numba.cuda.

Nothing here is imported before a script asks for device "cuda".  From the ground up: `driver` holds every import of
numba.cuda and of the driver's bindings, `simulated` stands in for a GPU where there is none, `machine` is the GPU in
use, `pool` its memory, `kernel` compiles and launches, `elementwise` and `tile` are what kernels are made of, `array`
is memory with a shape, `program` replays what was recorded as a CUDA graph, and `device` is all of it as a place for
tensors.
"""
