"""U-Net for several classes, which enlarges by interpolation; cross entropy over pixels and the dice loss."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def block(inputs, outputs):
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, padding="same")
    return nn.Sequential(conv, nn.GroupNorm(2, outputs), nn.LeakyReLU(0.2, inplace=True))


class UNet(nn.Module):
    def __init__(self, widths=(4, 8), classes=3):
        super().__init__()
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        inputs = 3
        for width in widths:
            self.downs.append(block(inputs, width))
            inputs = width
        self.bottom = block(inputs, inputs)
        for width in reversed(widths):
            self.ups.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True))
            self.ups.append(block(inputs + width, width))
            inputs = width
        self.out = nn.Conv2d(inputs, classes, 1)

    def forward(self, x):
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, conv in zip(self.ups[::2], self.ups[1::2]):
            skip = skips.pop()
            x = up(x)
            if x.shape != skip.shape:
                x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = conv(torch.cat((skip, x), dim=1))
        return self.out(x)


def dice_loss(logits, target, eps=1e-6):
    probabilities = F.softmax(logits, dim=1)
    one_hot = F.one_hot(target, logits.shape[1]).permute(0, 3, 1, 2).type_as(probabilities)
    intersection = (probabilities * one_hot).sum((0, 2, 3))
    cardinality = (probabilities + one_hot).sum((0, 2, 3))
    return 1 - ((2 * intersection + eps) / (cardinality + eps)).mean()


def main(given):
    images, masks = given.images(2, 3, 12, 14), given.labels(3, 2, 12, 14)
    masks[:, 0, :3] = 255
    valid = torch.where(masks == 255, torch.zeros_like(masks), masks)
    model = given.fill(UNet())
    criterion = nn.CrossEntropyLoss(ignore_index=255, weight=given.unit(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=5, power=0.9)
    for _ in range(2):
        logits = model(images)
        loss = criterion(logits, masks) + dice_loss(logits, valid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        correct = (logits.argmax(dim=1) == masks)[masks != 255].float().mean()
        given.record(loss=loss.item(), correct=correct.item(), lr=scheduler.get_last_lr()[0])
    given.finish(model, given.images(1, 3, 8, 8))
