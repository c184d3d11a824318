"""The tokenizer against transformers' `CLIPTokenizer` and plain implementations of BPE."""

import itertools
import json
import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest
import tokenizers
import torch
from transformers import CLIPTokenizer

from course_utils.data.captions import BACKGROUNDS, STYLES, full_caption, random_caption
from course_utils.data.concepts import load_concepts
from course_utils.models import Tokenizer, WeightsError
from course_utils.models.tokenizer import END, START, WORD_END, byte_signs, split_words, to_symbols


def captions(count: int) -> list[str]:
    concepts, rng = load_concepts("starter"), random.Random(0)
    return [
        random_caption(rng.choice(concepts), rng.choice(STYLES), rng.choice(list(BACKGROUNDS)), rng)
        for _ in range(count)
    ]


HARD = """
a cat face, 3d style, on a blue background¦A CAT FACE¦  two   spaces\tand\na line  ¦
don't we'll I'd they're you've I'm it's DON'T 'S 'LL 'tis¦rock 'n' roll¦''''¦'s's's
1 22 333 4444 3d 3D 1,000,000.50 ½ ¼ Ⅷ ² ٣ 四¦x²+y²=z²¦covid-19 b2b
naïve café Ångström ñandú¦e\u0301 vs é¦ﬁ ligature¦straße STRASSE ẞ¦İstanbul ı¦ΟΔΟΣ ΣΑΣ ς¦Ǆ ǅ ǆ
日本語 中文 한국어 ไทย हिन्दी العربية עברית¦Ελληνικά кириллица¦ⅷ ⓐ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈
🎉 🐱 👩‍👩‍👧‍👦 👨🏽‍🚀 🇫🇷 ☺️ ♥ ❤️¦a 🐶 dog🐕dog¦🎉🎉🎉
…—–“quotes”‘single’ «guillemets»¦!?!?...;:,()[]{}<>¦a_b-c+d=e/f\\g@h#i$j%k^l&m*n~o`p
zero\u200bwidth¦no\u00a0break¦ideographic\u3000space¦soft\u00adhyphen¦\ufeffbom¦a\x85b¦a\x1cb\x1fc¦\u180ex
\x00¦\x07bell¦\x7f¦\ud7ff¦\ufffd¦\U0010ffff¦'ſ¦K Å Ω¦ͅ ᾳ ᾼ¦ŉ ΐ¦ß</w>¦</w>¦Ġ Ċ Â
<|startoftext|>¦<|endoftext|>¦a<|endoftext|>b¦<|ENDOFTEXT|>¦<|EndOfText|> x¦ <|endoftext|> ¦
<|endoftext|<|startoftext|> cat¦< | endoftext |>¦|endoftext|¦a|b
<|endoftext|> <|endoftext|>¦Σ<|endoftext|>Σ¦<|Endoftext|><|Endoftext|>¦<<|EndOfText|>!
""".strip("\n")
TEXTS = ["", " ", "\n", *(part for line in HARD.split("\n") for part in line.split("¦"))]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    extra = ["don't café 日本語 🎉 👩‍👩‍👧 ΟΔΟΣ 2024 ... !?"] * 5
    return Tokenizer.train(captions(2000) + extra, vocab_size=1000, model_max_length=24)


@pytest.fixture(scope="module")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def theirs(folder: Path) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(folder)


def random_texts(count: int) -> list[str]:
    """Strings of letters, digits, signs, spaces and emoji from all over Unicode."""
    rng = random.Random(1)
    ranges = [(32, 127), (0xA0, 0x250), (0x370, 0x530), (0x3040, 0x30FF), (0x1F300, 0x1F6FF)]
    ranges += [(0x300, 0x36F), (0x2000, 0x206F), (0x600, 0x6FF), (32, 127), (97, 123)]
    texts = []
    for _ in range(count):
        low, high = rng.choice(ranges), rng.choice(ranges)
        texts.append("".join(chr(rng.randrange(*rng.choice([low, high]))) for _ in range(12)))
    return texts


def test_ids_are_those_of_transformers(tokenizer: Tokenizer, theirs: CLIPTokenizer) -> None:
    texts = TEXTS + captions(200) + random_texts(400)
    texts += ["cat " * 200, "pneumonoultramicroscopicsilicovolcanoconiosis" * 20, "x" * 3000]
    texts += [text.upper() for text in TEXTS if "<|" not in text]
    texts += [f"{text} {text.title()}" for text in TEXTS]
    expected = theirs(texts)["input_ids"]
    wrong = [
        (text, tokenizer.tokenize(text))
        for text, ids in zip(texts, expected, strict=True)
        if tokenizer.encode(text) != ids
    ]
    assert not wrong
    assert len(texts) > 700


def test_rows_are_padded_and_cut_as_in_transformers(
    tokenizer: Tokenizer, theirs: CLIPTokenizer
) -> None:
    texts = ["", "a cat", "a cat face, 3d style, on a blue background", "word " * 100]
    rows = tokenizer(texts)
    expected = theirs(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert rows.dtype == torch.int64
    assert rows.shape == (4, 24)
    assert torch.equal(rows, expected)
    assert torch.equal(tokenizer("a cat"), rows[1:2])
    assert rows[3, -1] == tokenizer.eos_token_id


def test_no_texts_are_no_rows(tokenizer: Tokenizer) -> None:
    rows = tokenizer([])
    assert rows.shape == (0, 24)
    assert rows.dtype == torch.int64


def test_decode_is_that_of_transformers(tokenizer: Tokenizer, theirs: CLIPTokenizer) -> None:
    for text in TEXTS + captions(50):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True), repr(text)


def test_decode_gives_plain_words_back(tokenizer: Tokenizer) -> None:
    for text in ("a cat face on blue", "naïve café", "日本語 and ελληνικά", "🎉 party", "straße"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.decode(tokenizer(text)[0]) == text
    assert tokenizer.decode(tokenizer.encode("A Cat,  3D!")) == "a cat , 3 d !"
    assert tokenizer.decode([]) == ""
    with pytest.raises(ValueError, match=f"{len(tokenizer)}"):
        tokenizer.decode([len(tokenizer)])


def test_what_transformers_saves_opens(
    tokenizer: Tokenizer, theirs: CLIPTokenizer, tmp_path: Path
) -> None:
    theirs.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").is_file()
    assert not (tmp_path / "vocab.json").exists()
    opened = Tokenizer.from_pretrained(tmp_path)
    assert opened.vocab == tokenizer.vocab
    assert opened.merges == tokenizer.merges
    assert opened.model_max_length == 24


def test_no_limit_of_length_becomes_clips_own(tokenizer: Tokenizer, tmp_path: Path) -> None:
    merges = [tuple(pair) for pair in tokenizer.merges]
    CLIPTokenizer(vocab=tokenizer.vocab, merges=merges).save_pretrained(tmp_path)
    opened = Tokenizer.from_pretrained(tmp_path)
    assert opened.model_max_length == 77
    assert opened("a cat").shape == (1, 77)


def test_saved_files_read_the_same(tokenizer: Tokenizer, folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["merges.txt", "tokenizer_config.json", "vocab.json"]
    again = Tokenizer.from_pretrained(folder)
    assert (again.vocab, again.merges) == (tokenizer.vocab, tokenizer.merges)
    assert again.model_max_length == 24
    (folder / "tokenizer_config.json").rename(folder / "away")
    assert Tokenizer.from_pretrained(folder).model_max_length == 77
    (folder / "away").rename(folder / "tokenizer_config.json")


def test_merges_of_signs_that_look_like_comments(tmp_path: Path) -> None:
    """The pair ("#", "#") is no comment line of merges.txt."""
    trained = Tokenizer.train(["### ### ###"] * 3, vocab_size=520)
    assert ("#", "#") in trained.merges
    trained.save_pretrained(tmp_path)
    assert Tokenizer.from_pretrained(tmp_path).merges == trained.merges
    assert CLIPTokenizer.from_pretrained(tmp_path)("###")["input_ids"] == trained.encode("###")


# --- learning ---------------------------------------------------------------------------------


def naive_merges(texts: list[str], count: int) -> tuple[list[tuple[str, str]], int]:
    """Sennrich et al. 2016, algorithm 1, as printed: symbols in a string, merged by a pattern.

    Returns:
        The merges, and how many of them come before the first tie.
    """
    words = Counter(word for text in texts for word in split_words(text))
    vocab = {" ".join(to_symbols(word)): n for word, n in words.items()}
    merges: list[tuple[str, str]] = []
    clear = None
    for _ in range(count):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in vocab.items():
            symbols = word.split(" ")
            for pair in itertools.pairwise(symbols):
                pairs[pair] += n
        if not pairs or max(pairs.values()) < 2:
            break
        most = max(pairs.values())
        best = sorted(pair for pair, n in pairs.items() if n == most)
        if len(best) > 1 and clear is None:
            clear = len(merges)
        merges.append(best[0])
        pattern = re.compile(r"(?<!\S)" + re.escape(" ".join(best[0])) + r"(?!\S)")
        vocab = {pattern.sub(lambda _, b=best[0]: "".join(b), w): n for w, n in vocab.items()}
    return merges, len(merges) if clear is None else clear


def weighted_words() -> list[str]:
    """Words of few letters with very different counts, so that ties are rare."""
    rng = random.Random(3)
    words = ["".join(rng.choices("abc", k=rng.randint(2, 6))) for _ in range(60)]
    return [" ".join([word] * rng.randint(1, 400)) for word in words]


@pytest.mark.parametrize("texts", [captions(300), weighted_words()], ids=["captions", "weighted"])
def test_learns_what_the_papers_algorithm_learns(texts: list[str]) -> None:
    expected, _ = naive_merges(texts, 120)
    trained = Tokenizer.train(texts, vocab_size=514 + 120)
    assert trained.merges == expected
    assert len(trained) == 514 + len(expected)


def test_learns_what_the_tokenizers_library_learns() -> None:
    texts = weighted_words()
    _, clear = naive_merges(texts, 120)
    assert clear > 12, "too many ties to compare"
    reference = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix=WORD_END))
    reference.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=150, min_frequency=2, end_of_word_suffix=WORD_END, show_progress=False
    )
    reference.train_from_iterator(texts, trainer)
    learned = [tuple(pair) for pair in json.loads(reference.to_str())["model"]["merges"]]
    assert Tokenizer.train(texts, vocab_size=514 + 120).merges[:clear] == learned[:clear]


def test_learning_stops_where_no_pair_occurs_twice() -> None:
    trained = Tokenizer.train(["abc"], vocab_size=2048)
    assert trained.merges == []
    assert len(trained) == 514
    assert Tokenizer.train([], vocab_size=600).merges == []


def test_learning_does_not_depend_on_the_order_of_texts() -> None:
    texts = captions(200)
    assert Tokenizer.train(texts, 700).vocab == Tokenizer.train(texts[::-1], 700).vocab


def test_vocabulary_is_laid_out_as_in_clip(tokenizer: Tokenizer) -> None:
    tokens = sorted(tokenizer.vocab, key=tokenizer.vocab.__getitem__)
    signs = list(byte_signs().values())
    assert len(set(signs)) == 256
    assert tokens[:256] == signs
    assert tokens[256:512] == [sign + WORD_END for sign in signs]
    assert tokens[-2:] == [START, END]
    assert sorted(tokenizer.vocab.values()) == list(range(len(tokenizer)))


def test_frequent_words_become_one_token(tokenizer: Tokenizer) -> None:
    caption = full_caption("cat face", "flat", "blue")
    assert {"cat</w>", "face</w>", "blue</w>", "background</w>"} <= set(tokenizer.tokenize(caption))


# --- bad input --------------------------------------------------------------------------------


def test_too_small_a_vocabulary() -> None:
    with pytest.raises(ValueError, match="vocab_size is 513; expected at least 514"):
        Tokenizer.train(["a cat"], vocab_size=513)


def test_a_vocabulary_without_special_tokens() -> None:
    with pytest.raises(ValueError, match=r"startoftext"):
        Tokenizer({"a": 0}, [])


def test_a_very_long_prompt_takes_no_time(tokenizer: Tokenizer) -> None:
    rng = random.Random(0)
    word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5_000))
    start = time.process_time()
    assert tokenizer(word + " cat " * 20_000).shape == (1, 24)
    assert time.process_time() - start < 10


def test_no_tokenizer_in_the_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no tokenizer: expected vocab\.json"):
        Tokenizer.from_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"nowhere.*has no tokenizer"):
        Tokenizer.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["vocab.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_broken_files_are_named(tokenizer: Tokenizer, tmp_path: Path, name: str, text: str) -> None:
    if name == "tokenizer_config.json" and text == "{}":
        pytest.skip("an empty configuration is a configuration")
    tokenizer.save_pretrained(tmp_path)
    if name == "tokenizer.json":
        (tmp_path / "vocab.json").unlink()
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(name) if text != "{}" else "vocab"):
        Tokenizer.from_pretrained(tmp_path)
