"""Optimisers on the GPU: one launch for all parameters, by the formulas of ../optimizer.py.

A kernel takes tables of addresses, in which entry i is an array of parameter i, and a table of tasks.  Each block
does one task.
"""

from functools import partial

from ...runtime.cuda.array import array_at, to_device_each_replay, to_device_once
from ...runtime.cuda.driver import cuda
from ...runtime.cuda.gpu import current_gpu
from ...runtime.cuda.kernel import Kernel
from ...runtime.cuda.math import translated
from ...runtime.source import define_function
from ..optimizer import UPDATES, Update, build_task_table

KERNEL = """
def kernel(table, numbers, params, grads{lists}):
    row = 3 * cuda.blockIdx.x
    i, start, stop = table[row], table[row + 1] + cuda.threadIdx.x, table[row + 2]
    w, g = {w}, {g}
    {states}
    {numbers}
    for j in range(start, stop, cuda.blockDim.x):
        {results}, = step({values})
"""


def _make_kernel(update: Update) -> Kernel:
    text = update.fill_in(KERNEL, "array_at({}[i], stop, numbers)")
    scope = {"cuda": cuda, "array_at": array_at, "step": translated(update.step), "__name__": __name__}
    return Kernel(define_function(text, **scope), f"optimizer.{update.name}_kernel")


def _launch(kernel, numbers, params, *lists):
    """Launch a kernel with one block for each task."""
    table = to_device_once(build_task_table(tuple([w.size for w in params.arrays])))
    addresses = [arrays.table for arrays in (params, *lists)]
    run = kernel[len(table), current_gpu().block_threads]
    run(table.reshape(-1), to_device_each_replay(numbers), *addresses)


for _update in UPDATES:
    _update.register("cuda")(partial(_launch, _make_kernel(_update)))
