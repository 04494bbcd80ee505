"""ShuffleNetV2: channels split by chunk, and shuffled by view and transpose; running averages in a meter."""

import torch
import torch.nn as nn


def channel_shuffle(x, groups):
    n, c, h, w = x.size()
    x = x.view(n, groups, c // groups, h, w)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(n, -1, h, w)


class Unit(nn.Module):
    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            nn.Conv2d(half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False),
            nn.BatchNorm2d(half),
        )

    def forward(self, x):
        left, right = x.chunk(2, dim=1)
        return channel_shuffle(torch.cat((left, self.branch(right)), dim=1), 2)


class AverageMeter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, value, n=1):
        self.sum += value * n
        self.count += n

    @property
    def avg(self):
        return self.sum / self.count


def main(given):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), Unit(8), nn.ReLU(), Unit(8), nn.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("fc", nn.Linear(8, 7))
    model = given.fill(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5, dampening=0.1)
    criterion = nn.CrossEntropyLoss()
    losses, top1 = AverageMeter(), AverageMeter()
    for images, labels in [(given.images(n, 3, 12, 12), given.labels(7, n)) for n in (4, 3)]:
        output = model(images)
        loss = criterion(output, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), images.size(0))
        _, pred = output.topk(2, 1, True, True)
        correct = pred.t().eq(labels.view(1, -1).expand_as(pred.t()))
        top1.update(correct[:1].reshape(-1).float().sum(0).mul_(100.0 / images.size(0)).item(), images.size(0))
        given.record(loss=losses.avg, top1=top1.avg)
    given.finish(model, given.images(2, 3, 12, 12))
