"""LeNet-5 training steps per second: the compiled kernels against the same model in plain NumPy (im2col + BLAS).

    python benchmarks/lenet.py [--batch 64] [--seconds 10] [--quick]

One step is forward, loss, backward and SGD with momentum on images in memory.  Both devices are checked to compute the
same loss and weights first; then they take turns, and the medians are reported.
"""

import argparse
import os
import time

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, datasets, optim
from minigrad.models import LeNet5

DEVICES = ("cpu", "numpy")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64, help="images per step (64)")
    parser.add_argument("--seconds", type=float, default=10, help="of timing, all together (10)")
    parser.add_argument("--quick", action="store_true", help="only check, and time for a moment")
    args = parser.parse_args()
    steps = {device: Step(device, args.batch) for device in DEVICES}
    check(steps)
    medians = alternate(steps, 0.5 if args.quick else args.seconds)
    report(medians, args.batch)


class Step:
    """A model on a device and one batch; calling it is one step."""

    def __init__(self, device, batch):
        digits = data.DataLoader(datasets.MNIST(train=False), batch, normalize=(0.1307, 0.3081), pad=2, device=device)
        self.images, self.labels = next(iter(digits))
        mg.manual_seed(0)
        self.model = LeNet5(image_size=32).to(device)
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)

    def __call__(self):
        loss = F.cross_entropy(self.model(self.images), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


def check(steps):
    """Five steps on every device must give the same losses and weights, within float32's rounding."""
    losses = {device: [step().item() for _ in range(5)] for device, step in steps.items()}
    np.testing.assert_allclose(losses["cpu"], losses["numpy"], rtol=1e-4)
    for mine, judge in zip(steps["cpu"].model.parameters(), steps["numpy"].model.parameters(), strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), judge.detach().numpy(), atol=1e-4)


def alternate(steps, seconds):
    """Median seconds of a step on each device; forty steps of one, then of the other, until the time is up."""
    times = {device: [] for device in steps}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for device, step in steps.items():
            time.sleep(0.2)  # BLAS threads go on spinning for a while and would slow the other device down
            for _ in range(40):
                start = time.perf_counter()
                step()
                times[device].append(time.perf_counter() - start)
    return {device: float(np.median(values)) for device, values in times.items()}


def report(medians, batch):
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"LeNet-5, batch {batch}, {mg.get_num_threads()} threads{load}")
    for device, seconds in medians.items():
        print(f"  {device:6s} {1e3 * seconds:7.2f} ms a step, {batch / seconds:9,.0f} images/s")
    print(f"  cpu is {medians['numpy'] / medians['cpu']:.1f} times as fast as numpy")


if __name__ == "__main__":
    main()
