"""A tiny CLIP in a folder, with both towers, a tokeniser, and random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers

SIDE, WIDTH, LONGEST = 16, 12, 16
LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]
ENDS = ["<|startoftext|>", "<|endoftext|>"]
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 3}


def clip(folder: Path, seed: int = 0, **vision: int) -> Path:
    """A folder as a download of the hub has it."""
    tokens = [*LETTERS, *(letter + "</w>" for letter in LETTERS), *ENDS]
    text = {"vocab_size": len(tokens), "max_position_embeddings": LONGEST, "projection_dim": WIDTH}
    text |= {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": len(tokens) - 1}
    images = {"image_size": SIDE, "patch_size": 8, "projection_dim": WIDTH, **vision}
    config = transformers.CLIPConfig(text_config=TOWER | text, vision_config=TOWER | images, projection_dim=WIDTH)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.CLIPModel(config).save_pretrained(folder)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    return folder
