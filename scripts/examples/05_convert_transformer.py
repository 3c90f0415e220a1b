"""Swap feed-forward layers of a transformer for EUGen layers, and fold them: ViT-B/16 and a GPT-2-shaped model.

One learns how `convert` chooses layers by name, and where the numbers go: an EUGen layer in place of the first Linear
of a feed-forward block (and of its GELU) saves some, folding it with the second Linear saves most. Weights are random:
this is about sizes, and about equal outputs before and after folding.

The paper (arXiv 2410.09771) names six replaced blocks, "-30 %" and "346 -> 197 MB" for ViT-B. 346 MB is the dense model
here too. Six blocks with 64 features fold to -32 % (235 MB); 197 MB would be -43 %, which is what eight blocks give.
"""

import torch
import torchvision
from torch import Tensor, nn

from eugen_fields.layers import convert, fold


class Block(nn.Module):
    """Pre-norm attention and feed-forward block of GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = self.norm_1(x)
        x = x + self.attention(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.norm_2(x))


class GPT(nn.Module):
    """GPT-2 (124M by default): tokens (batch, length) to logits (batch, length, vocabulary); the head is tied."""

    def __init__(self, depth: int = 12, width: int = 768, heads: int = 12, vocabulary: int = 50257) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(1024, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        x = self.tokens(tokens) + self.positions(torch.arange(length, device=tokens.device))
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.norm(x))


def size(module: nn.Module) -> tuple[int, float]:
    """Numbers that the module holds, each counted once, and their megabytes."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(t.numel() for t in tensors), sum(t.numel() * t.element_size() for t in tensors) / 1e6


@torch.no_grad()
def show(name: str, model: nn.Module, where: str, inputs: Tensor) -> None:
    converted = convert(model, layer="eugen", where=where, num_features=64, seed=0)
    folded = fold(converted)
    outputs = converted(inputs)
    difference = float((folded(inputs) - outputs).abs().max() / outputs.abs().max())
    print(f"{name}\n  {'':12} {'numbers':>12} {'MB':>8} {'change':>8}")
    for form, module in (("dense", model), ("converted", converted), ("folded", folded)):
        count, megabytes = size(module)
        print(f"  {form:12} {count:12,} {megabytes:8.1f} {100 * (count / size(model)[0] - 1):+7.1f}%")
    print(f"  largest difference between converted and folded outputs: {difference:.1e} of the largest output")


if __name__ == "__main__":
    torch.manual_seed(0)
    vit, image = torchvision.models.vit_b_16(weights=None).eval(), torch.randn(1, 3, 224, 224)
    nn.init.normal_(
        vit.get_parameter("heads.head.weight"), std=0.02
    )  # torchvision starts it at zero: every output would be zero
    show("ViT-B/16, the last six of twelve blocks", vit, r".*encoder_layer_([6-9]|1[01])\.mlp\.0", image)
    show("ViT-B/16, the last eight of twelve blocks", vit, r".*encoder_layer_([4-9]|1[01])\.mlp\.0", image)
    gpt, tokens = GPT().eval(), torch.randint(50257, (1, 16))
    show("GPT-2 shape, six of twelve blocks", gpt, r"blocks\.([6-9]|1[01])\.mlp\.0", tokens)
    show("GPT-2 shape, eleven of twelve blocks", gpt, r"blocks\.([1-9]|1[01])\.mlp\.0", tokens)
