"""A narrow AlexNet: two nn.Sequential, normalisation of responses, dropout, MultiStepLR."""

import torch
import torch.nn as nn
from torch.optim import SGD
from torch.optim.lr_scheduler import MultiStepLR


class AlexNet(nn.Module):
    def __init__(self, num_classes: int = 10, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, kernel_size=7, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(8, 12, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0),
            nn.Conv2d(12, 8, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout),
            nn.Linear(8 * 2 * 2, 16),
            nn.ReLU(inplace=True),
            nn.Dropout(p=dropout),
            nn.Linear(16, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.classifier(x)


def main(given):
    images, labels = given.images(4, 3, 32, 32), given.labels(10, 4)
    model = given.fill(AlexNet(dropout=0.0))
    optimizer = SGD(params=model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    scheduler = MultiStepLR(optimizer, milestones=[1, 2], gamma=0.1)
    criterion = nn.CrossEntropyLoss()
    for _ in range(3):
        model.train()
        output = model(images)
        loss = criterion(output, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        top = output.topk(3, dim=1)[1]
        correct = top.eq(labels.view(-1, 1).expand_as(top)).any(dim=1).float().mean().item()
        given.record(loss=loss.item(), top3=correct, lr=scheduler.get_last_lr()[0])
    given.finish(model, given.images(2, 3, 32, 32))
