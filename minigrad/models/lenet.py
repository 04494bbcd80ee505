"""LeNet-5, as usual today and as in 1998.

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998.
"""

from .. import nn
from ..creation import ones, zeros
from ..errors import ValidationError
from ..nn import functional as F
from ..tensors import Tensor


class Subsampling(nn.Module):
    """The pooling of LeNet-5 in 1998: tanh(weight * mean of each 2x2 window + bias).

    channels     C, number of feature maps; each has a weight and a bias, which are learned
    x, returns   (N, C, H, W), (N, C, H/2, W/2)

    Source   LeCun et al. 1998, section II-B, layer S2
    Example
    >>> import minigrad as mg
    >>> Subsampling(6)(mg.zeros(1, 6, 28, 28)).shape
    (1, 6, 14, 14)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(ones(channels, 1, 1))
        self.bias = nn.Parameter(zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(F.avg_pool2d(x, 2) * self.weight + self.bias)


class LeNet5(nn.Module):
    """The network for handwritten digits: two convolutions, each followed by pooling, and three dense layers.

    classic       False: ReLU and max-pooling, as usual today; True: tanh and Subsampling, as in 1998
    num_classes   number of classes
    in_channels   channels of the images
    image_size    28: conv1 pads the images by 2 pixels; 32: the images already have this margin
    x, returns    (N, in_channels, image_size, image_size), (N, num_classes) logits

        conv1 6 filters 5x5   (N, 6, 28, 28)   pool (N, 6, 14, 14)
        conv2 16 filters 5x5  (N, 16, 10, 10)  pool (N, 16, 5, 5) = 400 features
        fc1 120, fc2 84, fc3 num_classes

    The default has 61,706 parameters.  Both forms simplify the network of 1998, which connected each map of conv2 to
    only some maps of conv1 (table I), scaled its tanh (1.7159 * tanh(2x/3)), and compared the last 84 numbers with
    drawn digits (radial basis functions) in place of fc3.

    Raises   ShapeError        the images have another size or number of channels
             ValidationError   image_size is neither 28 nor 32
    Source   LeCun et al. 1998, section II-B
    Example
    >>> import minigrad as mg
    >>> model = LeNet5()
    >>> model(mg.zeros(8, 1, 28, 28)).shape
    (8, 10)
    >>> sum(p.numel() for p in model.parameters())
    61706
    """

    def __init__(self, classic: bool = False, num_classes: int = 10, in_channels: int = 1, image_size: int = 28):
        super().__init__()
        if image_size not in (28, 32):
            raise ValidationError(f"LeNet5: image_size is {image_size}; use 28 or 32, and pad or resize other images")
        self.classic = classic
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=(32 - image_size) // 2)
        self.pool1 = Subsampling(6) if classic else nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool2 = Subsampling(16) if classic else nn.MaxPool2d(2)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)
        self.activation = nn.Tanh() if classic else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        for conv, pool in ((self.conv1, self.pool1), (self.conv2, self.pool2)):
            # ReLU and max-pooling commute; after pooling, ReLU has a quarter of the work
            x = pool(self.activation(conv(x))) if self.classic else self.activation(pool(conv(x)))
        x = self.activation(self.fc1(x.flatten(1)))
        return self.fc3(self.activation(self.fc2(x)))
