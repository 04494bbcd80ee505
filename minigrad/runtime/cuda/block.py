"""What the threads of a block compute together."""

from .driver import cuda, helper


@helper
def sum_threads(shared, threads):
    """Add up shared (threads) as a tree; the sum is in shared[0].  All threads of the block must call this."""
    thread, step = cuda.threadIdx.x, threads // 2
    while step:
        cuda.syncthreads()
        if thread < step:
            shared[thread] += shared[thread + step]
        step //= 2
