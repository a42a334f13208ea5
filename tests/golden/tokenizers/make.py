#!/usr/bin/env python3
"""Makes the tokenizers beside this script, each with vectors.jsonl: what the `tokenizers` library
(0.22 or later) makes of the strings below. Needs nothing else; the corpus is this file.

    python3 make.py [strings.json FOLDER]

With arguments: the same kinds, but other strings, written elsewhere.
"""
import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre
from tokenizers import processors as post

CORPUS = open(__file__, encoding="utf-8").read().splitlines() + [
    "The quick brown fox jumps over the lazy dog. It's what we'll do; they've said I'd be there.",
    "Übergrößenträger straße naïve café déjà vu ça œuvre, Привет мир, как дела сегодня",
    "今天天气很好,我们去公园散步。日本語のテキストも少し。한국어 문장입니다.",
    "1234567890 3.14159 2026-11-23 x = y + 1; if (a && b) { return a[0] -> next; }",
] * 4

SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = SHORT + "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" + SPACES
QWEN2 = LLAMA3.replace("{1,3}", "")
UP, LOW = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
FIRST = "[^\\r\\n\\p{L}\\p{N}]?"
TEKKEN = (f"{FIRST}{UP}*{LOW}+|{FIRST}{UP}+{LOW}*|\\p{{N}}|"
          " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" + SPACES)
GPT4O = (f"{FIRST}{UP}*{LOW}+{SHORT}?|{FIRST}{UP}+{LOW}*{SHORT}?|\\p{{N}}{{1,3}}|"
         " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" + SPACES)
BYTES = pre.ByteLevel(add_prefix_space=False, use_regex=False)
SPM_DECODER = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]

STRINGS = [
    "", " ", "  ", "a", "\n", "\r\n\r\n", "\t x", "Hello world", " Hello  world ", "it's I'LL we've",
    "abc123def4567", "1 22 333 4444 55555", "x=1;y=-2,z", "e.g. a,b-c--d, (e)", "no-break space",
    "café café Å Å Å ﬁ ½ ² ﬀ", "각 각 각", "क\u094dषि কো কো",
    "Привет, мир! ПРИВЕТ", "今天天气很好。日本語テキスト", "한국어 문장", "😀👍🏽 👩\u200d👩\u200d👧",
    "İstanbul ẞß ΑΒΓ Σς Ǆ ǅ", "\ua7cb\ua7cc\ua7cd \U00010d50\U00010d70 \U00011bc0 \U00010d80", "\U000323b0\U0002ebf0 \U0001e4d0\U00011f00", "\u0378\u061c\u180e\u200b\ufeff",
    "\ufffe \U000e0001\U0010fffd", "a\u0300\u0316 \u0316\u0300a", "   \n  \n x", "x   ", "Aa AA aA AAa aAa a1A",
    "\x7f\x80\x9f \u00ad", "٠١٢ ⅧⅨ ①②", "_snake_case __init__ a_1", "<s>x</s> <unk> [SEP]", "▁▁a▁ b", "<0x41><0x0A>",
    "wordless word words sword a word", "<L> a <L>b<L>", "a <R>  b<R>\n c", "x  <LR>  y", "Café Café café",
    "the the\tthe\nthe", "AAAAAAAAAAAAAAAAAAAAAAAA", "don't DON'T can’t", "http://a.b/c?d=e&f#g", "  leading", "tail \t",
]


def train(tokenizer, size, **options):
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, **options)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_level(pre_tokenizer, normalizer=None, size=420, **model):
    t = Tokenizer(models.BPE())
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizer
    train(t, size, initial_alphabet=pre.ByteLevel.alphabet())
    if model:
        state = json.loads(t.to_str())
        state["model"].update(model)
        t = Tokenizer.from_str(json.dumps(state))
    t.decoder = decoders.ByteLevel()
    return t


def template(t, front=(), back=()):
    ids = [(x, t.token_to_id(x)) for x in [*front, *back]]
    single = " ".join([*front, "$A", *back])
    t.post_processor = post.TemplateProcessing(single=single, special_tokens=ids)


def sentencepiece(normalizer, pre_tokenizer, decoder, fallback=True):
    bytes_ = [f"<0x{i:02X}>" for i in range(256)] if fallback else []
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=fallback))
    if normalizer:
        t.normalizer = normalizer
    if pre_tokenizer:
        t.pre_tokenizer = pre_tokenizer
    train(t, 480 if fallback else 240, special_tokens=["<unk>", "<s>", "</s>", *bytes_],
          limit_alphabet=90)
    state = json.loads(t.to_str())
    state["added_tokens"] = state["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(state))
    t.decoder = decoder
    template(t, ["<s>"])
    return t


def kinds():
    yield "gpt2-prefix", byte_level(pre.ByteLevel(add_prefix_space=True))
    yield "smollm", byte_level(pre.Sequence([pre.Digits(True), pre.ByteLevel(add_prefix_space=False)]))
    t = byte_level(pre.Sequence([pre.Split(Regex(LLAMA3), "isolated"), BYTES]), ignore_merges=True)
    t.add_special_tokens(["<s>", "</s>"])
    template(t, ["<s>"], ["</s>"])
    yield "llama3", t
    t = byte_level(pre.Sequence([pre.Split(Regex(QWEN2), "isolated"), BYTES]), normalizers.NFC())
    yield "qwen2", t
    yield "tekken", byte_level(pre.Sequence([pre.Split(Regex(TEKKEN), "isolated"), BYTES]))
    yield "gpt4o", byte_level(pre.Sequence([pre.Split(Regex(GPT4O), "isolated"), BYTES]))
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    strip = decoders.Sequence([*SPM_DECODER, decoders.Strip(" ", 1, 0)])
    yield "llama2", sentencepiece(prepend, None, strip)
    yield "metaspace-first", sentencepiece(None, pre.Metaspace("▁", "first", False), strip)
    yield "metaspace-always", sentencepiece(None, pre.Metaspace("▁", "always", True),
                                            decoders.Metaspace("▁", "always"))
    yield "gemma", sentencepiece(normalizers.Replace(" ", "▁"), pre.Split(" ", "merged_with_previous"),
                                 decoders.Sequence(SPM_DECODER))
    yield from odd_kinds()
    yield "added-tokens", added_tokens()


def odd_kinds():
    """Components that few models use, in combinations that none does."""
    cleanup = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(),
                                    normalizers.Replace(Regex("\\s+"), " ")])
    yield "unk-words", sentencepiece(cleanup, pre.Sequence([pre.WhitespaceSplit(), pre.Punctuation(),
                                                            pre.Digits(False)]),
                                     decoders.Fuse(), False)
    t = byte_level(pre.Sequence([pre.Whitespace(), BYTES]), normalizers.NFD())
    t.add_special_tokens(["<s>", "</s>"])
    t.post_processor = post.Sequence([post.ByteLevel(trim_offsets=False), post.RobertaProcessing(
        ("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")), False, False)])
    yield "roberta-words", t
    splits = [pre.Split("-", "merged_with_previous"), pre.Split(",", "merged_with_next"),
              pre.Split(Regex("[a-z]+"), "contiguous", True), pre.Split(Regex("\\r?\\n"), "removed"),
              pre.Split(Regex("\\s|\\S{1,9}"), "removed", True), pre.Punctuation("merged_with_next")]
    yield "splits", byte_level(pre.Sequence([*splits, BYTES]), normalizers.NFKD())


def added_tokens():
    t = byte_level(pre.Sequence([pre.Split(Regex(QWEN2), "isolated"), BYTES]), normalizers.NFC())
    t.add_tokens([AddedToken("<L>", lstrip=True, normalized=False),
                  AddedToken("<R>", rstrip=True, normalized=False),
                  AddedToken("<LR>", lstrip=True, rstrip=True, normalized=False),
                  AddedToken("word", single_word=True, normalized=False),
                  AddedToken("Caf\u00e9", normalized=True),
                  AddedToken("the", normalized=True, single_word=True)])
    t.add_special_tokens(["<s>", "</s>", "<s>x"])
    template(t, ["<s>"])
    state = json.loads(t.to_str())  # as in files before tokenizers 0.20
    state["model"]["merges"] = [" ".join(m) for m in state["model"]["merges"]]
    return Tokenizer.from_str(json.dumps(state))


def pieces(t, text):
    if t.normalizer:
        text = t.normalizer.normalize_str(text)
    if not t.pre_tokenizer:
        return [text]
    return [p for p, _ in t.pre_tokenizer.pre_tokenize_str(text)]


def main():
    strings, out = STRINGS, os.path.dirname(os.path.abspath(__file__))
    if len(sys.argv) > 1:
        strings, out = json.load(open(sys.argv[1])), sys.argv[2]
    for name, t in kinds():
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        t.save(os.path.join(folder, "tokenizer.json"), pretty=False)
        with open(os.path.join(folder, "vectors.jsonl"), "w") as f:
            for text in strings:
                ids = t.encode(text, add_special_tokens=False).ids
                line = {"text": text, "ids": ids, "ids_with_special": t.encode(text).ids,
                        "decoded": t.decode(ids, skip_special_tokens=False),
                        "pieces": pieces(t, text)}
                f.write(json.dumps(line, ensure_ascii=False) + "\n")


main()
