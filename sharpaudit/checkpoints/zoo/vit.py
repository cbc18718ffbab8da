"""A vision transformer for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention written out as two products and a softmax, so that every derivative exists."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to the same shape."""
        n, tokens, width = x.shape
        query, key, value = self.qkv(x).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) / (width // self.heads) ** 0.5).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(n, tokens, width))  # type: ignore[no-any-return]  # modules are called untyped


class TransformerBlock(nn.Module):
    """Pre-norm transformer block (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then the MLP, each added."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]  # modules are called untyped


class SmallViT(nn.Module):
    """A vision transformer for small images: patch 4, width 192, depth 9, 12 heads, the sizes of Lee et al. (2021)."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(in_channels, 192, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 192))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + (image_size // 4) ** 2, 192) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(192, 12, 384) for _ in range(9)))
        self.norm = nn.LayerNorm(192)
        self.head = nn.Linear(192, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes), from the class token."""
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens))[:, 0])  # type: ignore[no-any-return]  # modules are called untyped
