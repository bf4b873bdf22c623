"""Tiny folders in the exact layout of published models, written from tests/helpers/published_layouts.json by hand.

That file lists, for each hub id and subfolder, the weight files, the config (published keys, small values) and every
tensor's name and shape ({i}: two layers). Nothing here is saved by the classes that load it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

LAYOUTS: dict[str, Any] = json.loads((Path(__file__).parent / "published_layouts.json").read_text())
WAN, COGVIDEOX, PALIGEMMA, SIGLIP, GEMMA = LAYOUTS


def tensors_of(repo: str, subfolder: str) -> dict[str, Tensor]:
    """Random tensors under the published names."""
    generator = torch.Generator().manual_seed(len(subfolder))
    shapes = LAYOUTS[repo][subfolder]["tensors"]
    named = {key.replace("{i}", str(i)): shape for key, shape in shapes.items() for i in range(1 + ("{i}" in key))}
    return {key: torch.randn(shape, generator=generator) * 0.1 for key, shape in named.items()}


def write_part(repo: str, subfolder: str, root: Path, tensors: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Write one model's config, shards and index below `root`; return its tensors."""
    layout, folder = LAYOUTS[repo][subfolder], root / subfolder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(layout["config"]))
    tensors = tensors_of(repo, subfolder) if tensors is None else tensors
    files = layout["files"]
    placed = {key: files[n * len(files) // len(tensors)] for n, key in enumerate(tensors)}
    for file in files:
        save_file({k: t for k, t in tensors.items() if placed[k] == file}, folder / file, {"format": "pt"})
    if len(files) > 1:
        stem = files[0].split("-")[0]
        index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": placed}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    return tensors


def write_tokenizer(folder: Path, words: tuple[str, ...]) -> None:
    """A tiny tokenizer in the files that T5's have."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"\u2581{word}", -1.0) for word in words)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    facts = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(special | facts))
