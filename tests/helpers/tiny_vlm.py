"""Tiny random vision-language models of stock classes, saved as the published checkpoints are."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA_TEMPLATE = (
    "<bos>{% for message in messages %}<start_of_turn>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] | trim }}{% endif %}"
    "{% endfor %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
QWEN_SPECIAL = ("<|im_end|>", "<|endoftext|>", "<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
                "<|video_pad|>")  # fmt: skip
GEMMA_SPECIAL = ("<end_of_turn>", "<pad>", "<bos>", "<start_of_turn>", "<start_of_image>", "<end_of_image>",
                 "<image_soft_token>")  # fmt: skip


def byte_tokenizer(special: tuple[str, ...], template: str) -> PreTrainedTokenizerFast:
    """Bytes as tokens, and one word ("True") that is a token of its own; special: end, padding, then the rest."""
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("T", "r"), ("Tr", "u"), ("Tru", "e")]
    for a, b in merges:
        vocab[a + b] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[0], pad_token=special[1])
    fast.add_special_tokens({"additional_special_tokens": list(special[2:])})
    fast.chat_template = template
    return fast


def save_qwen(folder: Path, version: str = "2.5", context: int = 4096) -> Path:
    """A tiny random Qwen2.5-VL or Qwen3-VL."""
    tokenizer = byte_tokenizer(QWEN_SPECIAL, QWEN_TEMPLATE)
    ids = dict(zip(QWEN_SPECIAL, tokenizer.convert_tokens_to_ids(list(QWEN_SPECIAL)), strict=True))
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": context, "head_dim": 16,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
        "pad_token_id": ids["<|endoftext|>"], "bos_token_id": None, "eos_token_id": ids["<|im_end|>"],
    }  # fmt: skip
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "patch_size": 4,
              "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32}  # fmt: skip
    # fmt: off
    tokens = {"image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"],
              "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"]}
    # fmt: on
    torch.manual_seed(0)
    if version == "2.5":
        vision |= {"fullatt_block_indexes": [1], "window_size": 16}
        config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
        model = Qwen2_5_VLForConditionalGeneration(config)
    else:
        vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
        text["rope_parameters"]["mrope_interleaved"] = True  # type: ignore[index]
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **tokens))
    processor = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, min_pixels=64, max_pixels=256)
    return _save(folder, model, tokenizer, processor)


def save_gemma(folder: Path) -> Path:
    """A tiny random Gemma 3 with a sliding window shorter than a prompt."""
    tokenizer = byte_tokenizer(GEMMA_SPECIAL, GEMMA_TEMPLATE)
    ids = dict(zip(GEMMA_SPECIAL, tokenizer.convert_tokens_to_ids(list(GEMMA_SPECIAL)), strict=True))
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "head_dim": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096,
        "sliding_window": 64,
        "layer_types": ["sliding_attention", "full_attention"], "pad_token_id": ids["<pad>"],
        "query_pre_attn_scalar": 16, "bos_token_id": ids["<bos>"], "eos_token_id": ids["<end_of_turn>"],
    }  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 16, "patch_size": 4}  # fmt: skip
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=ids["<image_soft_token>"],
            boi_token_index=ids["<start_of_image>"], eoi_token_index=ids["<end_of_image>"],
        )
    )  # fmt: skip
    processor = Gemma3ImageProcessorPil(size={"height": 16, "width": 16})
    return _save(folder, model, tokenizer, processor)


def _save(folder: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, processor: object) -> Path:
    with torch.no_grad():
        for parameter in model.parameters():  # random weights of a size that lets what is read change what is said
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    for part in (model, tokenizer, processor):
        part.save_pretrained(folder)  # type: ignore[attr-defined]
    return folder
