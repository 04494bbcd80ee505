"""U-Net: a class for each pixel, from small feature maps with a wide view and from large ones with details.

Source: O. Ronneberger, P. Fischer and T. Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015.
"""

from .. import nn
from ..creation import cat
from ..errors import ShapeError
from ..nn import functional as F
from ..tensors import Tensor


class UNet(nn.Module):
    """Halve the images `depth` times, double them as often, and join feature maps of equal size on the way up.

    in_channels   channels of the images
    num_classes   number of classes
    width         channels at full size; each halving doubles them
    depth         number of halvings
    x, returns    (N, in_channels, H, W), H and W multiples of 2**depth; (N, num_classes, H, W) logits

    The paper's network has width 64 and depth 4.  Unlike that one, convolutions are padded, so that the result has the
    size of the images, and are followed by batch normalisation.

    Raises   ShapeError   H or W is no multiple of 2**depth, or the images have another number of channels
    Source   Ronneberger et al. 2015, figure 1
    Example
    >>> import minigrad as mg
    >>> UNet(1, 2, width=4, depth=2)(mg.zeros(3, 1, 16, 24)).shape
    (3, 2, 16, 24)
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 64, depth: int = 4):
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        channels = [in_channels, *widths]
        self.depth = depth
        self.down = nn.ModuleList(_two_convolutions(channels[i], widths[i]) for i in range(depth))
        self.bottom = _two_convolutions(channels[depth], widths[depth])
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.join = nn.ModuleList(_two_convolutions(2 * w, w) for w in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        multiple = 2**self.depth
        if x.shape[-2] % multiple or x.shape[-1] % multiple:
            raise ShapeError(
                f"UNet: images have {x.shape[-2]}x{x.shape[-1]} pixels, expected multiples of {multiple} = "
                f"2**depth; pad or resize them, or build it with another depth"
            )
        levels = []
        for convolutions in self.down:
            levels.append(convolutions(x))
            x = F.max_pool2d(levels[-1], 2)
        x = self.bottom(x)
        for double, convolutions, level in zip(self.up, self.join, reversed(levels), strict=True):
            x = convolutions(cat([level, double(x)], 1))
        return self.head(x)


def _two_convolutions(channels: int, filters: int) -> nn.Sequential:
    """Two 3x3 convolutions that keep the size of the images, each with batch normalisation and ReLU."""
    first, second = (nn.Conv2d(c, filters, 3, padding=1, bias=False) for c in (channels, filters))
    return nn.Sequential(*(first, nn.BatchNorm2d(filters), nn.ReLU()), *(second, nn.BatchNorm2d(filters), nn.ReLU()))
