"""A word-level tokenizer that knows which words it does not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[BOS]", "[EOS]"
# CLIP reads an end token with id 2 as "take the largest id", so the end must not be 2.
SPECIAL_TOKENS = (PAD, UNKNOWN, START, END)
MOST_WORDS = 50_000


def build_tokenizer(
    texts: Iterable[str], *, longest: int, fewest: int = 1
) -> PreTrainedTokenizerFast:
    """A tokenizer that knows the words of the texts and marks any other as unknown.

    It knows those that occur `fewest` times: with 2, what is unknown turns up in training, too.
    """
    normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"[^\w\s]"), " ")]
    )
    counts = Counter(word for text in texts for word in normalizer.normalize_str(text).split())
    words = sorted(word for word, count in counts.most_common(MOST_WORDS) if count >= fewest)
    id_by_word = {word: number for number, word in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(models.WordLevel(id_by_word, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(token, id_by_word[token]) for token in (START, END)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=longest,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        model_input_names=["input_ids", "attention_mask"],
    )
