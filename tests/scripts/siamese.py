"""A siamese network: one embedding for two images, contrastive, triplet and cosine losses."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(1, 4, kernel_size=3),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(4),
            nn.AvgPool2d(2),
            nn.ZeroPad2d((1, 0, 1, 0)),
            nn.Conv2d(4, 6, kernel_size=3, dilation=2),
            nn.Hardtanh(-2, 2),
        )
        self.fc = nn.Sequential(nn.Linear(6 * 3 * 3, 8), nn.LogSigmoid(), nn.Linear(8, 4))

    def embed(self, x):
        x = self.cnn(x)
        return self.fc(x.view(x.size()[0], -1))

    def forward(self, first, second):
        return self.embed(first), self.embed(second)


class ContrastiveLoss(torch.nn.Module):
    def __init__(self, margin=2.0):
        super().__init__()
        self.margin = margin

    def forward(self, first, second, label):
        distance = F.pairwise_distance(first, second, keepdim=True)
        far = torch.clamp(self.margin - distance, min=0.0)
        return torch.mean((1 - label) * torch.pow(distance, 2) + label * torch.pow(far, 2))


def main(given):
    first, second, third = (given.images(4, 1, 12, 12) for _ in range(3))
    label = given.labels(2, 4, 1).to(first.dtype)
    net = given.fill(Siamese())
    contrastive, triplet = ContrastiveLoss(), nn.TripletMarginLoss(margin=1.0, p=2)
    cosine = nn.CosineEmbeddingLoss(margin=0.3)
    optimizer = optim.RMSprop(net.parameters(), lr=1e-3, alpha=0.99, eps=1e-8, weight_decay=5e-4, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        a, b = net(first, second)
        loss = contrastive(a, b, label) + triplet(a, b, net.embed(third))
        loss = loss + cosine(a, b, 1 - 2 * label.view(-1))
        loss.backward()
        optimizer.step()
        given.record(loss=loss.item())
    net.eval()
    with torch.no_grad():
        embedded = F.normalize(net.embed(first), p=2, dim=1)
        given.record(similar=F.cosine_similarity(embedded[:1], embedded), distances=torch.cdist(embedded, embedded))
        distance = F.pairwise_distance(*net(first, second))
        hits = torch.cumsum(label.flatten()[torch.argsort(distance, descending=True)], dim=0)
        given.record(precision=hits / torch.arange(1, len(hits) + 1))
    given.finish(net, first[:2], second[:2])
