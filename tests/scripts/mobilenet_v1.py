"""MobileNet: depthwise and pointwise convolutions made by nested functions; the stem stays frozen."""

import torch
import torch.nn as nn


class MobileNet(nn.Module):
    def __init__(self, classes=10):
        super().__init__()

        def unit(inputs, outputs, kernel, stride=1, groups=1):
            conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
            return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

        def separable(inputs, outputs, stride):
            return unit(inputs, inputs, 3, stride, groups=inputs) + unit(inputs, outputs, 1)

        self.stem = nn.Sequential(*unit(3, 4, 3, stride=2))
        self.body = nn.Sequential(*separable(4, 6, 1), *separable(6, 8, 2), *separable(8, 8, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        x = self.pool(self.body(self.stem(x)))
        x = x.view(-1, 8)
        return self.fc(x)


def main(given):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, labels = given.images(5, 3, 16, 16).to(device), given.labels(10, 5).to(device)
    model = given.fill(MobileNet()).to(device)
    for param in model.stem.parameters():
        param.requires_grad = False
    trainable = list(filter(lambda p: p.requires_grad, model.parameters()))
    given.record(frozen=len(list(model.parameters())) - len(trainable))
    optimizer = torch.optim.SGD(trainable, lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss().to(device)
    for _ in range(2):
        output = model(images)
        loss = criterion(output, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        prediction = output.max(1, keepdim=True)[1]
        correct = prediction.eq(labels.view_as(prediction)).sum().item()
        given.record(loss=loss.item(), correct=correct)
    assert model.stem[0].weight.grad is None
    given.finish(model, given.images(2, 3, 16, 16))
