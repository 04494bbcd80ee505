"""A wide residual network: normalise and activate first, dropout inside the block, cosine schedule, nesterov."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, rate=0.0):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.project = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None
        self.rate = rate

    def forward(self, x):
        h = F.relu(self.norm1(x), inplace=True)
        skip = x if self.project is None else self.project(h)
        h = F.relu(self.norm2(self.conv1(h)), inplace=True)
        h = F.dropout(h, p=self.rate, training=self.training)
        return torch.add(skip, self.conv2(h))


class WideResNet(nn.Module):
    def __init__(self, k=2, classes=10):
        super().__init__()
        widths = [4, 4 * k]
        self.conv = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.blocks = nn.ModuleList([WideBlock(*widths, stride=2), WideBlock(widths[1], widths[1], stride=1)])
        self.norm = nn.BatchNorm2d(widths[1])
        self.fc = nn.Linear(widths[1], classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                fan_out = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
                m.weight.data.normal_(0, math.sqrt(2.0 / fan_out))
            elif isinstance(m, nn.BatchNorm2d):
                m.weight.data.fill_(1)
                m.bias.data.zero_()
            elif isinstance(m, nn.Linear):
                m.weight.data.uniform_(-0.1, 0.1)
                m.bias.data.zero_()

    def forward(self, x):
        x = self.conv(x)
        for block in self.blocks:
            x = block(x)
        x = F.avg_pool2d(F.relu(self.norm(x)), 8)
        return self.fc(x.reshape(x.shape[0], -1))


def main(given):
    images, labels = given.images(4, 3, 16, 16), given.labels(10, 4)
    model = given.fill(WideResNet())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4, eta_min=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        scheduler.step()
        given.record(loss=loss.item(), lr=optimizer.param_groups[0]["lr"])
    given.finish(model, given.images(2, 3, 16, 16))
