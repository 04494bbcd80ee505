"""DenseNet: each layer reads the concatenation of all before it; modules added by name; a stem as an OrderedDict."""

from collections import OrderedDict

import torch
import torch.nn as nn
import torch.nn.functional as F


class Dense(nn.Sequential):
    def __init__(self, inputs, growth):
        super().__init__()
        self.add_module("norm1", nn.BatchNorm2d(inputs))
        self.add_module("act1", nn.ReLU(inplace=True))
        self.add_module("squeeze", nn.Conv2d(inputs, 2 * growth, 1, bias=False))
        self.add_module("norm2", nn.BatchNorm2d(2 * growth))
        self.add_module("act2", nn.ReLU(inplace=True))
        self.add_module("grow", nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False))

    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


class Pick(nn.ModuleDict):
    """Layers by name, run in order, all of whose results are kept."""

    def forward(self, x):
        maps = [x]
        for _, layer in self.items():
            maps.append(layer(torch.cat(maps, dim=1)))
        return torch.cat(maps, dim=1)


class DenseNet(nn.Module):
    def __init__(self, growth=3, depths=(2, 1), classes=10):
        super().__init__()
        channels = 4
        stem = [("conv", nn.Conv2d(3, channels, 3, padding=1, bias=False)), ("norm", nn.BatchNorm2d(channels))]
        self.features = nn.Sequential(OrderedDict(stem))
        for number, depth in enumerate(depths, 1):
            for layer in range(depth):
                self.features.add_module("dense%d_%d" % (number, layer), Dense(channels, growth))
                channels += growth
            if number < len(depths):
                self.features.add_module(f"shrink{number}", nn.Conv2d(channels, channels // 2, 1, bias=False))
                self.features.add_module(f"pool{number}", nn.AvgPool2d(2, stride=2))
                channels //= 2
        branches = {name: nn.Conv2d((n + 1) * channels, channels, 1) for n, name in enumerate(("left",))}
        self.last = Pick(branches)
        self.classifier = nn.Linear(2 * channels, classes)

    def forward(self, x):
        x = F.relu(self.last(self.features(x)), inplace=True)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


def main(given):
    images, labels = given.images(4, 3, 8, 8), given.labels(10, 4)
    model = given.fill(DenseNet())
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.003, momentum=0.9)
    for _ in range(2):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item())
    given.finish(model, given.images(2, 3, 8, 8))
