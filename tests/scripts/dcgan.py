"""DCGAN: initial values by the name of the class, transposed convolutions, label tensors made by torch.full."""

import torch
import torch.nn as nn
import torch.optim as optim


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.02)
    elif classname.find("BatchNorm") != -1:
        nn.init.normal_(m.weight.data, 1.0, 0.02)
        nn.init.constant_(m.bias.data, 0)


class Generator(nn.Module):
    def __init__(self, nz=4, ngf=3, nc=1):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 2, 4, 1, 0, bias=False),
            nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, noise):
        return self.main(noise)


def make_discriminator(nc=1, ndf=3):
    layers, width = [nn.Conv2d(nc, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)], ndf
    layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(2 * width, 1, 4, 1, 0, bias=False), nn.Flatten(0))


def main(given):
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    netG, netD = Generator(), make_discriminator()
    netG.apply(weights_init)
    netD.apply(weights_init)
    netG, netD = given.fill(netG).to(device), given.fill(netD).to(device)
    criterion = nn.BCEWithLogitsLoss()
    optimizerD = optim.Adam(netD.parameters(), lr=0.0002, betas=(0.5, 0.999))
    optimizerG = optim.Adam(netG.parameters(), lr=0.0002, betas=(0.5, 0.999))
    for _ in range(2):
        real, noise = given.images(4, 1, 16, 16).to(device), given.images(4, 4, 1, 1)
        netD.zero_grad()
        label = torch.full((real.size(0),), 1.0, dtype=real.dtype, device=device)
        output = netD(real).view(-1)
        errD_real = criterion(output, label)
        errD_real.backward()
        fake = netG(noise)
        label.fill_(0.0)
        errD_fake = criterion(netD(fake.detach()), label)
        errD_fake.backward()
        optimizerD.step()

        netG.zero_grad()
        label.fill_(1.0)
        output = netD(fake)
        errG = criterion(output, label)
        errG.backward()
        optimizerG.step()
        given.record(loss_d=(errD_real + errD_fake).item(), loss_g=errG.item(), d_g=output.sigmoid().mean().item())
    given.finish(netG, given.images(1, 4, 1, 1), prefix="generator")
    given.finish(netD, given.images(2, 1, 16, 16), prefix="discriminator")
