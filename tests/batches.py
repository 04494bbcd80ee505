"""Lists of transforms that have a plan for batches, and images for them."""

import numpy as np

from minigrad import float32, transforms as T
from minigrad.streams import sample_seeds
from minigrad.transforms import v2

BILINEAR = T.InterpolationMode.BILINEAR
BATCH_CHAINS = {
    "crop": lambda: T.Compose([T.RandomCrop(12, padding=3), T.RandomHorizontalFlip(), T.ToTensor()]),
    "affine": lambda: T.Compose([T.Pad(2), T.RandomAffine(25, (0.1, 0.2), (0.8, 1.2), 5), T.ToTensor(), NORMALIZE]),
    "rotation": lambda: T.Compose([T.RandomRotation(40, BILINEAR, fill=90), T.RandomVerticalFlip(), T.ToTensor()]),
    "perspective": lambda: T.Compose([T.RandomPerspective(0.5, 0.7), T.CenterCrop(9), T.ToTensor(), NORMALIZE]),
    "elastic": lambda: T.Compose([T.RandomHorizontalFlip(), T.ElasticTransform(30.0, 1.0), T.ToTensor()]),
    "bytes": lambda: v2.Compose(
        [v2.ToImage(), v2.RandomAffine(25, interpolation=BILINEAR), v2.ToDtype(float32, scale=True), NORMALIZE]
    ),
    "floats": lambda: T.Compose([T.ToTensor(), T.RandomRotation(25, BILINEAR), T.RandomCrop(9), NORMALIZE]),
}
NORMALIZE = T.Normalize((0.4,), (0.3,))


def batch_of_images(chain, C=1, N=9):
    """Return images (20, C, 13, 14), numbers of N of them, and the seeds of their streams."""
    random = np.random.default_rng(N)
    noise = random.integers(0, 256, (20, C, 14, 15)).astype(np.float32)
    images = (noise[..., 1:, 1:] + noise[..., :-1, 1:] + noise[..., 1:, :-1] + noise[..., :-1, :-1]) / 4
    numbers = random.integers(0, 20, N)
    return images.astype(np.uint8), numbers, sample_seeds(3, 5, numbers)
