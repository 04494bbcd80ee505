"""Super-resolution: ESPCN learns to rearrange channels to pixels, SRCNN sharpens an interpolated image; PSNR."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.nn.init as init


class ESPCN(nn.Module):
    def __init__(self, upscale_factor):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, (5, 5), (1, 1), (2, 2))
        self.conv2 = nn.Conv2d(6, upscale_factor**2, (3, 3), (1, 1), (1, 1))
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)
        init.orthogonal_(self.conv1.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv2.weight)

    def forward(self, x):
        return self.pixel_shuffle(self.conv2(torch.tanh(self.conv1(x))))


class SRCNN(nn.Sequential):
    def __init__(self, factor):
        super().__init__(
            nn.Upsample(scale_factor=factor, mode="bicubic"),
            nn.Conv2d(1, 4, 5, padding=2, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(4, 1, 3, padding=1, padding_mode="replicate"),
        )


def psnr(mse):
    return 10 * math.log10(1 / mse)


def main(given):
    large = given.unit(3, 1, 12, 12)
    small = F.interpolate(large, scale_factor=1 / 2, mode="area")
    given.record(small=small.std(dim=(1, 2, 3)), unshuffled=F.pixel_unshuffle(large, 2).var())
    for name, factory, criterion in (("espcn", ESPCN, nn.MSELoss()), ("srcnn", SRCNN, nn.HuberLoss(delta=0.2))):
        model = given.fill(factory(2))
        last = list(model.children())[-1 if name == "srcnn" else 1]
        optimizer = torch.optim.Adam(
            [
                {"params": [p for p in model.parameters() if all(p is not q for q in last.parameters())]},
                {"params": last.parameters(), "lr": 1e-4},
            ],
            lr=1e-3,
        )
        for _ in range(2):
            optimizer.zero_grad()
            restored = model(small)
            loss = criterion(restored, large)
            loss.backward()
            optimizer.step()
            given.record(loss=loss.item(), psnr=psnr(F.mse_loss(restored.detach().clamp(0, 1), large).item()))
        given.finish(model, given.unit(1, 1, 4, 4), prefix=name)
