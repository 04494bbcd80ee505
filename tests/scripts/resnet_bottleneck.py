"""Residual bottlenecks: downsample is a module or None, norm_layer an argument, the last factor of each block is 0."""

import torch
import torch.nn as nn


class Bottleneck(nn.Module):
    expansion = 2

    def __init__(self, inputs, width, stride=1, downsample=None, norm_layer=nn.BatchNorm2d):
        super().__init__()
        outputs = width * self.expansion
        self.reduce = nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), norm_layer(width))
        self.spread = nn.Sequential(nn.Conv2d(width, width, 3, stride, padding=1, bias=False), norm_layer(width))
        self.expand = nn.Sequential(nn.Conv2d(width, outputs, 1, bias=False), norm_layer(outputs))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x):
        identity = x
        out = self.relu(self.reduce(x))
        out = self.relu(self.spread(out))
        out = self.expand(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


def make_stage(inputs, width, blocks, stride=1):
    outputs, downsample = width * Bottleneck.expansion, None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    layers = [Bottleneck(inputs, width, stride, downsample)]
    layers.extend(Bottleneck(outputs, width) for _ in range(1, blocks))
    return nn.Sequential(*layers)


class ResNet(nn.Module):
    def __init__(self, blocks, classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = make_stage(8, 4, blocks[0])
        self.layer2 = make_stage(8, 6, blocks[1], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(12, classes)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for index in (1, 2):
            x = getattr(self, f"layer{index}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def main(given):
    images, target = given.images(4, 3, 32, 32), given.labels(5, 4)
    model = given.fill(ResNet([2, 1]))
    for m in model.modules():
        if isinstance(m, Bottleneck):
            nn.init.constant_(m.expand[-1].weight, 0)
    decay = [p for n, p in model.named_parameters() if p.ndim > 1]
    others = [p for n, p in model.named_parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 1e-2}, {"params": others, "lr": 0.02}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=0.0)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    for _ in range(3):
        loss = criterion(model(images), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item())
    given.finish(model, given.images(2, 3, 32, 32))
