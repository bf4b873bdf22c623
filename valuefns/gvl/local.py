"""A transformers vision-language model on this machine (Qwen-VL and Gemma classes, any with the same interface)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuefns.gvl.backend import Backend, Keep, Prefixes
from valuefns.gvl.cache import AnswerCache
from valuefns.gvl.local_model import VisionLanguageModel, load_model
from valuefns.gvl.questions import Answer, Question
from valuefns.gvl.settings import BackendConfig


class LocalBackend(Backend):
    """Answers with an `AutoModelForImageTextToText` checkpoint (hub id or folder, safetensors only), loaded when asked.

    Greedy at temperature 0, else sampled with a seed of the question's own. Prefixes share one pass: keys and values
    of the frames are kept, and each question is read behind a copy of them (`log_probabilities`).
    Errors: no such checkpoint, one that takes no images, or a prompt longer than its context is a ValueError.
    """

    hides_thoughts = False

    def __init__(self, config: BackendConfig, device: str = "cpu") -> None:
        super().__init__(config)
        if not config.model:
            raise ValueError("vision-language model: backend.model is empty; give a hub id or a folder")
        self.device = device
        self._model: VisionLanguageModel | None = None

    @classmethod
    def make(cls, config: BackendConfig, device: str = "cpu") -> LocalBackend:
        return cls(config, device)

    @property
    def model(self) -> VisionLanguageModel:
        """The model, loaded when it is first asked."""
        if self._model is None:
            self._model = load_model(self.config, self.device)
        return self._model

    @property
    def together(self) -> int:
        return self.config.batch

    @property
    def identity(self) -> dict[str, Any]:
        config = self.config
        facts = {"kind": "local", "model": config.model, "revision": config.revision, "dtype": config.dtype}
        folder = Path(config.model)
        if folder.is_dir():  # a folder's content can change under its name
            files = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.glob("*.safetensors"))]
            facts["content"] = hashlib.sha256(repr(files).encode()).hexdigest()
        return facts | {"temperature": config.temperature}

    @torch.inference_mode()
    def _answers(self, questions: Sequence[Question], keep: Keep) -> None:
        model = self.model
        order = sorted(range(len(questions)), key=lambda i: len(questions[i].parts))  # alike together: less padding
        for start in range(0, len(order), self.config.batch):
            chosen = order[start : start + self.config.batch]
            some = [questions[i] for i in chosen]
            for i, answer in zip(chosen, self._generate(model, some), strict=True):
                keep(i, answer)

    def _generate(self, model: VisionLanguageModel, questions: Sequence[Question]) -> list[Answer]:
        inputs = model.inputs([q.parts for q in questions])
        longest = max(q.max_tokens for q in questions)
        length = inputs["input_ids"].shape[1]
        model.require_room(length, 1)
        warm = bool(self.config.temperature)
        sampling = {"do_sample": True, "temperature": self.config.temperature} if warm else {"do_sample": False}
        if warm:
            seed = AnswerCache.key({"seed": [q.facts() for q in questions]})
            torch.manual_seed(int(seed[:8], 16))
        out = model.model.generate(
            **inputs, **sampling, max_new_tokens=min(longest, model.context - length), pad_token_id=model.pad,
            return_dict_in_generate=True, output_logits=any(q.first_token for q in questions),
        )  # fmt: skip
        answers = []
        for row, (question, tokens) in enumerate(zip(questions, out.sequences[:, length:], strict=True)):
            ends = torch.isin(tokens, model.ends).nonzero()
            n = int(ends[0]) if len(ends) else len(tokens)
            finish = "stop" if len(ends) and n <= question.max_tokens else "length"
            kept = tokens[: min(n, question.max_tokens)]
            text = model.tokenizer.decode(kept, skip_special_tokens=True)
            first = _likeliest(out.logits[0][row], model.tokenizer) if question.first_token else {}
            prompt = int(inputs["attention_mask"][row].sum())
            answers.append(Answer(text, finish, prompt, len(kept), first))
        return answers

    def log_probabilities(self, videos: Sequence[Prefixes], word: str) -> list[np.ndarray]:
        return [self._of_prefixes(v, word) for v in videos]

    def _of_prefixes(self, prefixes: Prefixes, word: str) -> np.ndarray:
        whole = Question(prefixes.parts(len(prefixes.frames)), 1)
        asked = self.identity | whole.facts() | {"ends": list(prefixes.ends), "word": word}
        key = AnswerCache.key(asked)
        known = self._cache.get(key)
        if known is None:
            told, tokens = prefix_log_probabilities(self.model, prefixes, word)
            known = Answer("", "stop", tokens, 0, {str(k): p for k, p in zip(prefixes.ends, told, strict=True)})
            self._cache.put(key, asked, known)
            self._count(known, cached=False)
        else:
            self._count(known, cached=True)
        return np.array([known.first_token[str(k)] for k in prefixes.ends])


@torch.inference_mode()
def prefix_log_probabilities(model: VisionLanguageModel, prefixes: Prefixes, word: str) -> tuple[list[float], int]:
    """log p(word | head, frames[:k], tail) for each k in ends, and the number of tokens read.

    The frames are read once: the keys and values of head and frames[:k] are kept, tail and word are read behind a copy
    of them. Equal to reading every prefix by itself, as attention is causal over the text and each image's own tokens
    are read in one piece.
    """
    full = model.inputs([prefixes.parts(len(prefixes.frames))])
    ids = full["input_ids"][0]
    cuts = model.image_ends(ids)  # one past each image's last token
    tail = ids[cuts[-1] :]
    target = torch.tensor(model.tokenizer.encode(word, add_special_tokens=False), device=ids.device)
    model.require_room(len(ids) + len(target), 0)
    told, read, start, cache = [], 0, 0, None
    done = 0
    for k in prefixes.ends:
        stop = cuts[k - 1]
        cache = model.extend(ids, start, stop, full, slice(done, k), cache)
        read += stop - start
        start, done = stop, k
        question = torch.cat([ids[:stop], tail, target])
        logits = model.behind(question, stop, copy.deepcopy(cache), full, k)
        read += len(question) - stop
        steps = logits[len(tail) - 1 : len(tail) - 1 + len(target)].float().log_softmax(-1)
        told.append(float(steps.gather(1, target[:, None]).sum()))
    return told, read


def _likeliest(logits: Tensor, tokenizer: Any, n: int = 20) -> dict[str, float]:
    top = logits.float().log_softmax(-1).topk(min(n, len(logits)))
    return {tokenizer.decode([int(i)]): float(p) for i, p in zip(reversed(top.indices), reversed(top.values))}
