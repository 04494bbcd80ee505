"""A convolutional autoencoder that removes noise; strided convolutions, transposed convolutions, MSE and L1."""

import torch
from torch import nn
from torch.autograd import Variable
from torch.utils.data import DataLoader


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2, stride=2),
            nn.Conv2d(4, 3, 3, stride=2, padding=1),
            nn.Tanhshrink(),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(3, 4, 3, stride=2),
            nn.PReLU(4),
            nn.ConvTranspose2d(4, 2, 5, stride=3, padding=1, output_padding=1),
            nn.PReLU(),
            nn.ConvTranspose2d(2, 1, 2, stride=2, padding=1, bias=False),
            nn.Tanh(),
        )

    def forward(self, x):
        z = self.encoder(x)
        return self.decoder(z), z


def main(given):
    clean = given.unit(6, 1, 16, 16)
    noise = 0.2 * given.images(6, 1, 16, 16)
    loader = DataLoader([(c, (c + n).clamp(0.0, 1.0)) for c, n in zip(clean, noise)], batch_size=3)
    model = given.fill(Autoencoder())
    criterion, smooth = nn.MSELoss(), nn.SmoothL1Loss(beta=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    for _ in range(2):
        total = 0.0
        for image, noisy in loader:
            image, noisy = Variable(image), Variable(noisy, requires_grad=False)
            output, code = model(noisy)
            output = output[:, :, : image.size(2), : image.size(3)]
            target = nn.functional.adaptive_avg_pool2d(image, output.shape[-2:])
            loss = criterion(output, target) + smooth(output, target) + 1e-3 * code.abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        given.record(loss=total / len(loader), side=output.size(-1))
    given.finish(model, given.unit(1, 1, 16, 16))
