"""Inception: four branches side by side, an auxiliary classifier while training, a namedtuple of outputs."""

from collections import namedtuple

import torch
import torch.nn as nn
import torch.nn.functional as F

Outputs = namedtuple("Outputs", ["logits", "aux"])


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, **kwargs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    def __init__(self, inputs, one, three, five, pooled):
        super().__init__()
        self.b1 = ConvNorm(inputs, one, kernel_size=1)
        self.b2 = nn.Sequential(ConvNorm(inputs, 2, kernel_size=1), ConvNorm(2, three, kernel_size=3, padding=1))
        self.b3 = nn.Sequential(ConvNorm(inputs, 2, kernel_size=1), ConvNorm(2, five, kernel_size=5, padding=2))
        pool = nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True)
        self.b4 = nn.Sequential(pool, ConvNorm(inputs, pooled, kernel_size=1))

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.children()], dim=1)


class GoogLeNet(nn.Module):
    def __init__(self, classes=6):
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, 4, kernel_size=3, stride=2, padding=1))
        self.stem.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
        self.a, self.b = Inception(4, 2, 3, 2, 2), Inception(9, 3, 2, 2, 1)
        self.aux, self.fc = nn.Linear(9, classes), nn.Linear(8, classes)
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(m.weight, std=0.01, a=-0.02, b=0.02)

    def forward(self, x):
        x = self.a(self.stem(x))
        aux = self.aux(x.mean(dim=(2, 3))) if self.training else None
        x = F.adaptive_avg_pool2d(self.b(x), 1).flatten(1)
        return Outputs(self.fc(x), aux) if self.training else self.fc(x)


def main(given):
    images, labels = given.images(4, 3, 18, 18), given.labels(6, 4)
    model = given.fill(GoogLeNet())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002, betas=(0.9, 0.99))
    criterion = nn.CrossEntropyLoss()
    for _ in range(2):
        optimizer.zero_grad()
        outputs = model(images)
        loss = criterion(outputs.logits, labels) + 0.3 * criterion(outputs.aux, labels)
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item())
    given.finish(model, given.images(2, 3, 18, 18))
