"""U-Net: a contracting and an expanding path joined by concatenation, with the difference of sizes padded."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset


class Cells(Dataset):
    def __init__(self, images, masks):
        self.images, self.masks = images, masks

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index], "mask": (self.masks[index] > 0.7).to(self.images.dtype)}


class DoubleConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.net(x)


class Up(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
        self.conv = DoubleConv(2 * outputs, outputs)

    def forward(self, low, skip):
        low = self.up(low)
        dy, dx = skip.size(2) - low.size(2), skip.size(3) - low.size(3)
        low = F.pad(low, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(torch.cat([skip, low], dim=1))


class UNet(nn.Module):
    def __init__(self, classes=1):
        super().__init__()
        self.inc, self.down1, self.down2 = DoubleConv(1, 4), DoubleConv(4, 6), DoubleConv(6, 8)
        self.up1, self.up2 = Up(8, 6), Up(6, 4)
        self.outc = nn.Conv2d(4, classes, kernel_size=1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(self.pool(x1))
        x3 = self.down2(self.pool(x2))
        return self.outc(self.up2(self.up1(x3, x2), x1))


def main(given):
    loader = DataLoader(Cells(given.images(6, 1, 13, 11), given.unit(6, 1, 13, 11)), batch_size=3, drop_last=True)
    model = given.fill(UNet())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for batch in loader:
        images, masks = batch["image"], batch["mask"]
        criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0], dtype=masks.dtype))
        logits = model(images)
        loss = criterion(logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        predicted = torch.sigmoid(logits) > 0.5
        overlap = (predicted & masks.bool()).sum(dim=(1, 2, 3)).float()
        union = torch.logical_or(predicted, masks.bool()).sum(dim=(1, 2, 3))
        given.record(loss=loss.item(), iou=(overlap / union.clamp(min=1)).mean().item())
    given.finish(model, given.images(1, 1, 9, 9))
