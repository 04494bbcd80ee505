"""The CUDA backend: driver, memory, device arrays, and kernels written with numba.cuda.

Nothing here is imported before a script asks for device "cuda".  From the bottom up: `driver` holds every import of
numba.cuda and of the driver's bindings; `simulated` replaces the driver where there is no GPU; `gpu` is the GPU in use
and `pool` its memory; `array` is memory with a shape; `kernel` compiles and launches; `math`, `index`, `tile` and `mma`
are what kernels are made of; `elementwise` generates kernels from formulas; `program` replays a recording as a CUDA
graph; `device_error` reports what only a kernel can detect; `device` is the device behind `mg.device("cuda")`.
"""
