"""EfficientNet: squeeze and excitation, SiLU, stochastic depth (at rate 0), warm-up by LambdaLR."""

import torch
import torch.nn as nn


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, reduced):
        super().__init__()
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, reduced, 1),
            nn.SiLU(),
            nn.Conv2d(reduced, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * self.se(x)


class MBConv(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, expand, survival=1.0):
        super().__init__()
        hidden, self.survival = inputs * expand, survival
        self.residual = inputs == outputs and stride == 1
        self.expand = self.unit(inputs, hidden, 1) if expand != 1 else nn.Identity()
        self.depthwise = self.unit(hidden, hidden, kernel, stride, groups=hidden)
        self.se = SqueezeExcitation(hidden, max(1, inputs // 4))
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    @staticmethod
    def unit(inputs, outputs, kernel, stride=1, groups=1):
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01), nn.SiLU(inplace=True))

    def stochastic_depth(self, x):
        if not self.training:
            return x
        keep = torch.rand(x.shape[0], 1, 1, 1, device=x.device) < self.survival
        return torch.div(x, self.survival) * keep

    def forward(self, x):
        y = self.project(self.se(self.depthwise(self.expand(x))))
        return self.stochastic_depth(y) + x if self.residual else y


class EfficientNet(nn.Module):
    def __init__(self, classes=8):
        super().__init__()
        self.stem = MBConv.unit(3, 4, 3, stride=2)
        self.blocks = nn.Sequential(MBConv(4, 4, 3, 1, expand=1), MBConv(4, 6, 5, 2, expand=2))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes))

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


def main(given):
    images, labels = given.images(4, 3, 16, 16), given.labels(8, 4)
    model = given.fill(EfficientNet())
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda epoch: min(1.0, (epoch + 1) / 4))
    for _ in range(3):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        scheduler.step()
        given.record(loss=loss.item(), lr=scheduler.get_last_lr())
    given.finish(model, given.images(2, 3, 16, 16))
