"""Attention as people write it, and a function that a module keeps."""

import torch.nn.functional as F
from torch import nn


class Sdpa(nn.Module):
    """The function looked up at each call."""

    def __init__(self, c: int = 32, heads: int = 4):
        super().__init__()
        self.head, self.qkv, self.proj = (
            nn.Conv2d(3, c, 3, 1, 1),
            nn.Linear(c, 3 * c),
            nn.Linear(c, c),
        )
        self.tail, self.heads = nn.Conv2d(c, 12, 3, 1, 1), heads

    def forward(self, x):
        y = self.head(x)
        b, c, h, w = y.shape
        q, k, v = (
            self.qkv(y.flatten(2).transpose(1, 2))
            .view(b, h * w, 3, self.heads, c // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        t = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return F.pixel_shuffle(self.tail(self.proj(t).transpose(1, 2).view(b, c, h, w)), 2)


class Kept(nn.Module):
    """The same function, kept on the module, as several transformers for SR have it."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Conv2d(3, 48, 1)
        self.attend = F.scaled_dot_product_attention

    def forward(self, x):
        n, _, h, w = x.shape
        q, k, v = self.qkv(x).flatten(2).view(n, 3, 4, -1, h * w).transpose(-1, -2).unbind(1)
        return self.attend(q, k, v)


class Mha(nn.Module):
    """torch's own module: a fast path in evaluation mode on the CPU and on CUDA, none on meta."""

    def __init__(self, c: int = 32, heads: int = 4):
        super().__init__()
        self.head, self.attend = (
            nn.Conv2d(3, c, 3, 1, 1),
            nn.MultiheadAttention(c, heads, batch_first=True),
        )
        self.tail = nn.Conv2d(c, 12, 3, 1, 1)

    def forward(self, x):
        y = self.head(x)
        b, c, h, w = y.shape
        t = y.flatten(2).transpose(1, 2)
        t = t + self.attend(t, t, t, need_weights=False)[0]
        return F.pixel_shuffle(self.tail(t.transpose(1, 2).view(b, c, h, w)), 2)
