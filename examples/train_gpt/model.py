"""A small GPT of the Llama architecture over bytes, in plain PyTorch.

RMSNorm, rotary positions, SwiGLU, grouped-query attention. Parameters carry the names that
Hugging Face's `LlamaForCausalLM` gives them and the mathematics is the same, so the result loads
there, and in whatever reads that format, as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BOS, EOS, PAD = 256, 257, 258
VOCAB = 259
"""256 bytes, then begin, end and padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of the model; the default has 1.3 million parameters."""

    dim: int = 160
    layers: int = 4
    heads: int = 5
    kv_heads: int = 5
    hidden: int = 432
    context: int = 128
    rope_theta: float = 10_000.0
    eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        """Return the width of one head."""
        return self.dim // self.heads


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rotary(context: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of shape (context, head_dim), both halves alike."""
    rates = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(context, dtype=torch.float32), rates)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (i, i + head_dim / 2) of (..., time, head_dim) by its position's angle."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.dim, queries, bias=False)
        self.k_proj = nn.Linear(shape.dim, keys, bias=False)
        self.v_proj = nn.Linear(shape.dim, keys, bias=False)
        self.o_proj = nn.Linear(queries, shape.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, time, _ = x.shape
        s = self.shape
        q = self.q_proj(x).view(batch, time, s.heads, s.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(batch, time, s.kv_heads, s.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, time, s.kv_heads, s.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=s.heads != s.kv_heads
        )
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, time, -1))
        return out


class MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.dim, shape.eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.dim, shape.eps)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Trunk(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, shape.dim)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.dim, shape.eps)
        cos, sin = rotary(shape.context, shape.head_dim, shape.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        time = tokens.shape[1]
        cos, sin = self.get_buffer("cos")[:time], self.get_buffer("sin")[:time]
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin)
        out: Tensor = self.norm(x)
        return out


class GPT(nn.Module):
    """Bytes in, logits of the next byte out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)
        self.lm_head = nn.Linear(shape.dim, VOCAB, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 / (2 * shape.layers) ** 0.5 if deep else 0.02
                nn.init.normal_(weight, std=std)

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return logits (batch, time, VOCAB), or the mean loss in nats when targets are given."""
        logits: Tensor = self.lm_head(self.model(tokens))
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def sample(
        self, prompt: bytes, *, count: int, temperature: float, generator: torch.Generator
    ) -> bytes:
        """Continue the prompt by at most `count` bytes; temperature 0 takes the likeliest."""
        tokens = [BOS, *prompt]
        for _ in range(count):
            seen = torch.tensor([tokens[-self.shape.context :]])
            logits = self(seen)[0, -1]
            logits[BOS] = logits[PAD] = float("-inf")
            if temperature <= 0:
                token = int(logits.argmax())
            else:
                chances = F.softmax(logits / temperature, dim=-1)
                token = int(torch.multinomial(chances, 1, generator=generator))
            if token == EOS:
                break
            tokens.append(token)
        return bytes(tokens[1:])


def llama_config(shape: Shape) -> dict[str, object]:
    """Return the model's `config.json` as `LlamaForCausalLM` reads it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB,
        "hidden_size": shape.dim,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.eps,
        "rope_theta": shape.rope_theta,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "torch_dtype": "float32",
    }


def byte_tokenizer() -> dict[str, object]:
    """Return a `tokenizer.json` in which token b is byte b; no merges, nothing is lost.

    The format names bytes by printable characters: printable Latin-1 by themselves, the others by
    the code points from 256 on, in order.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        names.setdefault(byte, chr(256 + len(names) - len(printable)))
    special = {"<|begin|>": BOS, "<|end|>": EOS, "<|pad|>": PAD}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": text, "special": True, **flags}
            for text, number in special.items()
        ],
        "normalizer": None,
        "pre_tokenizer": {**level, "use_regex": False},
        "post_processor": None,
        "decoder": {**level, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {names[byte]: byte for byte in range(256)} | special,
            "merges": [],
        },
    }


def load_model(folder: Path) -> GPT:
    """Load what training wrote."""
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text("utf-8"))
    shape = Shape(
        dim=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        hidden=config["intermediate_size"],
        context=config["max_position_embeddings"],
        rope_theta=config["rope_theta"],
        eps=config["rms_norm_eps"],
    )
    model = GPT(shape)
    model.load_state_dict(load_file(str(folder / "model.safetensors")))
    return model.eval()
