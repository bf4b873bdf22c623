"""A loaded vision-language model and the layout of its prompts: Qwen-VL and Gemma 3 families, without torchvision.

The families' own processor classes need torchvision for videos, so the image tokens are laid out here; chat template,
tokenizer and image processor are the checkpoint's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from episodes.files import one_line
from networks.published import refuse
from valuefns.gvl.questions import Part
from valuefns.gvl.settings import BackendConfig

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
GEMMA = ("gemma3",)


@dataclass(eq=False)
class VisionLanguageModel:
    """Model, tokenizer and image processor of one checkpoint, and what its family does with images."""

    model: Any
    tokenizer: Any
    image_processor: Any
    device: str

    def __post_init__(self) -> None:
        config = self.model.config
        self.family = "qwen" if config.model_type in QWEN else "gemma"
        self.image_id = int(config.image_token_id)
        self.context = int(config.get_text_config().max_position_embeddings)
        ends = self.model.generation_config.eos_token_id
        ends = [self.tokenizer.eos_token_id] if ends is None else ends if isinstance(ends, list) else [ends]
        self.ends = torch.tensor([*ends, *([self.pad] if self.pad is not None else [])], device=self.device)

    @property
    def pad(self) -> int:
        """The token that fills shorter prompts."""
        return int(self.tokenizer.eos_token_id if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id)

    def inputs(self, prompts: Sequence[Sequence[Part]]) -> dict[str, Tensor]:
        """The model's inputs for some prompts, padded on the left."""
        images = [p for parts in prompts for p in parts if not isinstance(p, str)]
        seen = (
            self.image_processor(images=images, return_tensors="pt", input_data_format="channels_last")
            if images
            else {}
        )
        sizes = self._sizes(seen, len(images))
        texts, at = [], 0
        for parts in prompts:
            n = sum(not isinstance(p, str) for p in parts)
            texts.append(self._text(parts, sizes[at : at + n]))
            at += n
        # the template writes the special tokens itself
        ids = [self.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
        longest = max(map(len, ids))
        rows = torch.tensor([[self.pad] * (longest - len(x)) + x for x in ids])
        mask = torch.tensor([[0] * (longest - len(x)) + [1] * len(x) for x in ids])
        inputs = {"input_ids": rows, "attention_mask": mask}
        inputs["mm_token_type_ids" if self.family == "qwen" else "token_type_ids"] = (rows == self.image_id).long()
        keys = ("pixel_values", "image_grid_thw") if self.family == "qwen" else ("pixel_values",)
        inputs |= {k: seen[k] for k in keys if k in seen}
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        return {k: v.to(self.device) for k, v in inputs.items()}

    def require_room(self, prompt: int, answer: int) -> None:
        """Raise a ValueError where a prompt and its answer (tokens) are longer than the model's context."""
        if prompt + answer > self.context:
            raise ValueError(
                f"{self.model.config.name_or_path}: the prompt has {prompt} tokens, its context {self.context}; lower "
                "frames, shots or image_size, or choose a model with a longer context"
            )

    def image_ends(self, ids: Tensor) -> list[int]:
        """One past the last token of each image in ids (L,), the closing token included."""
        image = torch.cat([ids == self.image_id, ids.new_zeros(1, dtype=torch.bool)])
        return [int(i) + 2 for i in (image[:-1] & ~image[1:]).nonzero()[:, 0]]

    def extend(self, ids: Tensor, start: int, stop: int, full: dict[str, Tensor], images: slice, cache: Any) -> Any:
        """Read ids[start:stop], which hold `images`, behind the cache of ids[:start]; the cache of ids[:stop]."""
        out = self.model(
            **self._step(ids[:stop], start, full, images.stop), **self._pixels(full, images),
            past_key_values=cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        return out.past_key_values

    def behind(self, ids: Tensor, start: int, cache: Any, full: dict[str, Tensor], images: int) -> Tensor:
        """Logits (L - start, vocabulary) of the text ids[start:] behind the cache of ids[:start], which is used up."""
        return self.model(**self._step(ids, start, full, images), past_key_values=cache, use_cache=True).logits[0]

    def _step(self, ids: Tensor, start: int, full: dict[str, Tensor], images: int) -> dict[str, Tensor]:
        kinds = (ids == self.image_id).long()[None]
        if self.family == "gemma":
            position = torch.arange(start, len(ids), device=ids.device)[None]
            return {"input_ids": ids[None, start:], "position_ids": position, "token_type_ids": kinds}
        position, _ = self.model.model.get_rope_index(
            ids[None], mm_token_type_ids=kinds, image_grid_thw=full["image_grid_thw"][:images]
        )
        return {"input_ids": ids[None, start:], "position_ids": position[..., start:]}

    def _pixels(self, full: dict[str, Tensor], images: slice) -> dict[str, Tensor]:
        if self.family == "gemma":
            return {"pixel_values": full["pixel_values"][images]}
        patches = full["image_grid_thw"].prod(-1).tolist()
        first, last = sum(patches[: images.start]), sum(patches[: images.stop])
        return {
            "pixel_values": full["pixel_values"][first:last], "image_grid_thw": full["image_grid_thw"][images]
        }  # fmt: skip

    def _sizes(self, seen: Any, n: int) -> list[int]:
        """Tokens of each image."""
        if self.family == "gemma":
            return [int(self.model.config.mm_tokens_per_image)] * n
        return [int(t) // self.image_processor.merge_size**2 for t in seen["image_grid_thw"].prod(-1)] if n else []

    def _text(self, parts: Sequence[Part], sizes: Sequence[int]) -> str:
        content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image"} for p in parts]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        token = self.tokenizer.convert_ids_to_tokens(self.image_id)
        if self.family == "gemma":
            boi, eoi = (
                self.tokenizer.convert_ids_to_tokens(int(getattr(self.model.config, f"{k}_token_index")))
                for k in ("boi", "eoi")
            )
            mark, whole = boi, f"\n\n{boi}{{}}{eoi}\n\n"
        else:
            mark, whole = token, "{}"
        pieces = text.split(mark)
        assert len(pieces) == len(sizes) + 1, (len(pieces) - 1, len(sizes))
        laid = [whole.format(token * n) for n in sizes]
        return pieces[0] + "".join(image + piece for image, piece in zip(laid, pieces[1:], strict=True))


def load_model(config: BackendConfig, device: str) -> VisionLanguageModel:
    """Load a checkpoint, safetensors only; what cannot be loaded, or takes no images, is a one-line ValueError."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    where: dict[str, Any] = {"revision": config.revision, "trust_remote_code": False}
    try:
        kind = AutoConfig.from_pretrained(config.model, **where).model_type
        if kind not in QWEN + GEMMA:
            raise ValueError(
                f"its model type {kind!r} is none of {', '.join(QWEN + GEMMA)}; choose a vision-language model of these"
            )
        tokenizer = AutoTokenizer.from_pretrained(config.model, **where)
        if not tokenizer.chat_template:
            raise ValueError("it has no chat template; choose an instruction-tuned vision-language model")
        processor = AutoImageProcessor.from_pretrained(config.model, backend="pil", **where)
        model, info = AutoModelForImageTextToText.from_pretrained(
            config.model, dtype=getattr(torch, config.dtype), use_safetensors=True, output_loading_info=True, **where
        )
        refuse(info, "its weights", "choose a checkpoint of its own architecture")
    except (OSError, ValueError, KeyError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(one_line(f"{config.model}: cannot be used as a vision-language model: {first}")) from error
    return VisionLanguageModel(model.to(device).eval(), tokenizer, processor, device)
