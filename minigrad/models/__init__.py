"""Well-known models, with torchvision's names, arguments and state_dict keys where torchvision has the model.

Weights that torchvision's models saved are loaded by `model.load_state_dict(mg.load("resnet18.pth"))`.
"""

import sys

from ..names import explain_unknown_names
from .alexnet import AlexNet, alexnet
from .densenet import DenseNet, densenet121
from .lenet import LeNet5, Subsampling
from .mnist_net import MnistNet
from .mobilenetv2 import MobileNetV2, mobilenet_v2
from .resnet import CifarResNet, ResNet, resnet8, resnet18, resnet20, resnet34, resnet50
from .unet import UNet
from .vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from .vit import VisionTransformer

__all__ = ["VGG", "AlexNet", "CifarResNet", "DenseNet", "LeNet5", "MnistNet", "MobileNetV2", "ResNet"]
__all__ += ["Subsampling", "UNet", "VisionTransformer", "alexnet", "densenet121", "mobilenet_v2", "resnet8", "resnet18"]
__all__ += ["resnet20", "resnet34", "resnet50", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn"]
__all__ += ["vgg19", "vgg19_bn"]
__dir__ = __all__.copy
explain_unknown_names(sys.modules[__name__])
