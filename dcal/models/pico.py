"""`dcal_pico`: the small ViT that this repository embeds, for runs without network or GPU (ours).

A convolutional stem instead of one strided patch projection: at this size it learns small parts
far sooner, and costs a fifth of the blocks.
"""

from __future__ import annotations

from timm.layers.norm import LayerNorm2d
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

PICO_PATCH_SIZE = 8
PICO_WIDTH = 128
PICO_DEPTH = 6
PICO_NUM_HEADS = 4


class ConvStem(nn.Module):
    """Embed images by three stride-2 convolutions and a projection, one token per 8x8 pixels.

    It has the attributes that timm's `PatchEmbed` has, so that a `VisionTransformer` takes it.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 64,
        patch_size: int = PICO_PATCH_SIZE,
        in_chans: int = 3,
        embed_dim: int = PICO_WIDTH,
        bias: bool = True,
        **unused: object,
    ) -> None:
        super().__init__()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.img_size = (height, width)
        self.patch_size = (patch_size, patch_size)
        self.grid_size = (height // patch_size, width // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        channels = (in_chans, embed_dim // 4, embed_dim // 2, embed_dim)
        layers: list[nn.Module] = []
        for before, after in zip(channels[:-1], channels[1:], strict=True):
            layers += [
                nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False),
                LayerNorm2d(after),
                nn.GELU(),
            ]
        self.stem = nn.Sequential(*layers)
        self.proj = nn.Conv2d(embed_dim, embed_dim, kernel_size=1, bias=bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to patch tokens (B, rows * cols, D), row by row."""
        maps: Tensor = self.proj(self.stem(images))  # (B, D, rows, cols)
        return maps.flatten(2).transpose(1, 2)


def create_pico(
    image_size: tuple[int, int] = (64, 64), *, drop_path: float = 0.0
) -> VisionTransformer:
    """Build an untrained `dcal_pico` for images of (height, width), both multiples of 8."""
    return VisionTransformer(
        img_size=image_size,
        patch_size=PICO_PATCH_SIZE,
        embed_dim=PICO_WIDTH,
        depth=PICO_DEPTH,
        num_heads=PICO_NUM_HEADS,
        drop_path_rate=drop_path,
        embed_layer=ConvStem,
        num_classes=0,
    )
