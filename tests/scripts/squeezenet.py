"""SqueezeNet: fire modules, a convolution as the classifier, initial values that depend on the module."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.nn.init as init
from torch.autograd import Variable


class Fire(nn.Module):
    def __init__(self, inputs, squeezed, expanded):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, kernel_size=1)
        self.one = nn.Conv2d(squeezed, expanded, kernel_size=1)
        self.three = nn.Conv2d(squeezed, expanded, kernel_size=3, padding=1)
        self.activation = nn.ELU(alpha=0.5, inplace=True)

    def forward(self, x):
        x = self.activation(self.squeeze(x))
        return torch.cat([self.activation(self.one(x)), self.activation(self.three(x))], 1)


class SqueezeNet(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, kernel_size=3, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
            Fire(8, 3, 4),
            Fire(8, 4, 6),
        )
        last = nn.Conv2d(12, classes, kernel_size=1)
        self.classifier = nn.Sequential(nn.Dropout(p=0.0), last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module is last:
                    init.normal_(module.weight, mean=0.0, std=0.01)
                else:
                    init.kaiming_uniform_(module.weight)
                if module.bias is not None:
                    init.zeros_(module.bias)

    def forward(self, x):
        return self.classifier(self.features(x)).squeeze(-1).squeeze(-1)


def main(given):
    model = given.fill(SqueezeNet())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4, amsgrad=True)
    inputs, targets = Variable(given.images(5, 3, 17, 17)), Variable(given.labels(10, 5))
    for _ in range(3):
        optimizer.zero_grad()
        outputs = F.log_softmax(model(inputs), dim=-1)
        loss = F.nll_loss(outputs, targets)
        loss.backward()
        optimizer.step()
        given.record(loss=loss.data.item(), accuracy=(outputs.data.max(1)[1] == targets).double().mean())
    given.finish(model, given.images(2, 3, 17, 17))
