"""E-RFDN and IMDN as `srprof advise` would have them, the edits made by hand, splits too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from srprof.models.blocks import ESA
from srprof.models.e_rfdn_net import ERFDN
from srprof.models.imdn_net import IMDN, IMDBlock
from srprof.models.rfdn_net import RFDB


class AdvisedESA(ESA):
    def forward(self, x):
        c1_ = self.conv1(x)
        c1 = self.conv2(c1_)
        v_max = F.max_pool2d(c1, kernel_size=7, stride=3)
        del c1
        v_range = self.relu(self.conv_max(v_max))
        c3 = self.relu(self.conv3(v_range))
        c3 = self.conv3_(c3)
        c3 = F.interpolate(c3, x.shape[-2:], mode="bilinear", align_corners=False)
        cf = self.conv_f(c1_)
        del c1_
        c4 = self.conv4(c3 + cf)
        m = self.sigmoid(c4)
        del c4
        return torch.mul(x, m)


class AdvisedRFDB(RFDB):
    def __init__(self, channels):
        super().__init__(channels)
        self.esa = AdvisedESA(channels, channels // 4)

    def forward(self, input):  # noqa: A002 (as in the network)
        weight = self.c5.weight
        n = weight.shape[1] // 4
        part = self.act(self.c1_d(input))
        fused = F.conv2d(part, weight[:, :n], self.c5.bias)
        del part
        r_c1 = self.c1_r(input)
        r_c1 = self.act(r_c1 + input)

        part = self.act(self.c2_d(r_c1))
        fused += F.conv2d(part, weight[:, n : 2 * n])
        del part
        r_c2 = self.c2_r(r_c1)
        r_c2 = self.act(r_c2.add_(r_c1))
        del r_c1

        part = self.act(self.c3_d(r_c2))
        fused += F.conv2d(part, weight[:, 2 * n : 3 * n])
        del part
        r_c3 = self.c3_r(r_c2)
        r_c3 = self.act(r_c3.add_(r_c2))
        del r_c2

        r_c4 = self.act(self.c4(r_c3))
        del r_c3
        fused += F.conv2d(r_c4, weight[:, 3 * n :])
        del r_c4
        return self.esa(fused)


class AdvisedERFDN(ERFDN):
    def forward(self, input):  # noqa: A002 (as in the network)
        weight = self.c[0].weight
        n = weight.shape[0]
        out_fea = self.fea_conv(input)
        out_B1 = self.B1(out_fea)
        fused = F.conv2d(out_B1, weight[:, :n], self.c[0].bias)
        out_B2 = self.B2(out_B1)
        del out_B1
        fused += F.conv2d(out_B2, weight[:, n : 2 * n])
        out_B3 = self.B3(out_B2)
        del out_B2
        fused += F.conv2d(out_B3, weight[:, 2 * n : 3 * n])
        out_B4 = self.B4(out_B3)
        del out_B3
        fused += F.conv2d(out_B4, weight[:, 3 * n :])
        del out_B4
        out_B = self.c[1](fused)
        out_lr = self.LR_conv(out_B) + out_fea
        return self.upsampler(out_lr)


class AdvisedIMDBlock(IMDBlock):
    def forward(self, x):
        weight, n, sizes = self.conv1x1.weight, self.d_nc, [self.d_nc, self.r_nc]
        d1, r1 = torch.split(self.conv1(x), sizes, dim=1)
        res = F.conv2d(d1, weight[:, :n], self.conv1x1.bias)
        d2, r2 = torch.split(self.conv2(r1), sizes, dim=1)
        del d1, r1
        res += F.conv2d(d2, weight[:, n : 2 * n])
        d3, r3 = torch.split(self.conv3(r2), sizes, dim=1)
        del d2, r2
        res += F.conv2d(d3, weight[:, 2 * n : 3 * n])
        d4 = self.conv4(r3)
        del d3, r3
        res += F.conv2d(d4, weight[:, 3 * n :])
        del d4
        return x + res


def e_rfdn():
    return AdvisedERFDN(4, 50, AdvisedRFDB)


def imdn():
    model = IMDN(4, 64, 8)
    blocks: nn.Sequential = model.model[1].sub
    for index in range(8):
        blocks[index] = AdvisedIMDBlock(64)
    return model
