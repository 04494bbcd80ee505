"""MobileNetV2: inverted residuals with ReLU6, the widths rounded to a multiple, the settings in a table."""

import torch
from torch import nn
from torch.optim import lr_scheduler


def round_to(value, multiple=2):
    return max(multiple, int(value + multiple / 2) // multiple * multiple)


class ConvNormAct(nn.Sequential):
    def __init__(self, inputs, outputs, kernel_size=3, stride=1, groups=1):
        super(ConvNormAct, self).__init__(
            nn.Conv2d(inputs, outputs, kernel_size, stride, (kernel_size - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, momentum=0.01),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = int(round(inputs * expansion))
        self.residual = stride == 1 and inputs == outputs
        steps = [ConvNormAct(inputs, hidden, kernel_size=1)] if expansion > 1 else []
        steps += [ConvNormAct(hidden, hidden, stride=stride, groups=hidden)]
        steps += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*steps)

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    table = ((1, 8, 1, 1), (3, 12, 2, 2))  # expansion, channels, repetitions, stride of the first

    def __init__(self, width=0.5, classes=10):
        super().__init__()
        channels = round_to(8 * width)
        features = [ConvNormAct(3, channels, stride=2)]
        for t, c, n, s in self.table:
            for i in range(n):
                features.append(InvertedResidual(channels, round_to(c * width), stride=s if i == 0 else 1, expansion=t))
                channels = round_to(c * width)
        self.features = nn.Sequential(*features, ConvNormAct(channels, 16, kernel_size=1))
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(16, classes))

    def forward(self, x):
        x = self.features(x)
        x = x.mean([2, 3])
        return self.classifier(x)


def main(given):
    images, labels = given.images(6, 3, 16, 16), given.labels(10, 6)
    model = given.fill(MobileNetV2())
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9, momentum=0.9, eps=1e-3)
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.98)
    for _ in range(2):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        given.record(loss=loss.item(), lr=scheduler.get_last_lr()[-1])
    given.finish(model, given.images(2, 3, 16, 16))
