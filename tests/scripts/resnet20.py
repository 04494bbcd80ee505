"""A residual network of 6n + 2 layers for small images, whose shortcuts slice and pad instead of convolving."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn import init
from torch.optim.lr_scheduler import MultiStepLR


def initialize(module):
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        init.kaiming_normal_(module.weight)


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Block(nn.Module):
    expansion = 1

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            extra = (outputs - inputs) // 2
            self.shortcut = Apply(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra), "constant", 0))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    def __init__(self, n=1, width=4, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        stages, inputs = [], width
        for outputs in (width, 2 * width):
            strides = [1 if outputs == width else 2] + [1] * (n - 1)
            for stride in strides:
                stages.append(Block(inputs, outputs, stride))
                inputs = outputs * Block.expansion
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(inputs, classes)
        self.apply(initialize)

    def forward(self, x):
        x = self.stages(self.stem(x))
        x = F.avg_pool2d(x, x.size()[3])
        return self.linear(x.view(x.size(0), -1))


def main(given):
    images, labels = given.images(4, 3, 12, 12), given.labels(10, 4)
    model = given.fill(ResNet())
    given.record(layers=len([p for p in model.parameters() if p.requires_grad and len(p.data.size()) > 1]))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    scheduler = MultiStepLR(optimizer, milestones=[1], last_epoch=-1)
    for _ in range(2):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        given.record(loss=loss.item())
    given.finish(model, given.images(2, 3, 12, 12))
