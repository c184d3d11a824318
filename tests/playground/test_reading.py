"""The page reads prompts as the course does: the same caption, the same sentence, for any text."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from playground_engine import Engine

from course_utils.data import load_concepts
from course_utils.playground.site import READER, Model, find_models
from course_utils.reader import read
from course_utils.vocabulary import Vocabulary

PROMPTS = Path(__file__).parents[1] / "reader"
ODD = (
    *("", "   ", "\n\n", "\t", "\ufeff", "\x1c", "\0", "!!!", "...", "()", "&", "+", "--", "'s"),
    *("x" * 10_000, "cat " * 2500, "🐱" * 1500, "a cat\n" * 200, "שלום " * 400),
    *("🐱", "👩‍🚀", "👍🏽", "❤️", "🇩🇪", "1️⃣", "2️⃣ cats", "🐱🐶", "😀 hat", "👨‍👩‍👧", "©", "☺"),
    *("مرحبا بالعالم", "קוסם עם כובע", "a קוסם wizard", "漢字", "नमस्ते", "ไทย", "кот", "η γάτα"),
    *("pin\u0303ata", "piñata", "cafe\u0301", "c\u0334at", "ca\u0301t\u0345", "\u0301", "2\u20e3"),
    *("ﬁre", "①", "½", "Ⅷ", "ǅ", "ſoap", "İstanbul", "ΣΊΣΥΦΟΣ", "Straße", "K", "Å", "٣ cats", "x²"),
    *("https://example.org/a?b=c a dog", "HTTP://A.B", "www.cat.com", "xhttp://cat", "@cat a dog"),
    *("a@b.c", "#cat #dog_food", "_cat_", "cat_dog", "cat/dog|lion", "{cat} [dog]", "cat—dog–lion"),
    *("DRAW A CAT", "A RED APPLE, FLAT STYLE", "cAt", "Ada Lovelace", "Darth Vader with a dog"),
    *("3", "100 cats", "1,000 dogs", "two lions", "1st dog", "3.5 cats", "mr. fox", "st. bernard"),
    *(
        "elefant",
        "kartoon dragn",
        "pizzza",
        "umbrela on blu",
        "astronuat",
        "foxs",
        "wolfs",
        "dogs'",
    ),
    *(
        "cat’s",
        "it's",
        "haven't a cat",
        "mice",
        "cherries",
        "boxes",
        "leaves",
        "berrys",
        "pop corn",
    ),
    *(
        "a cat saying hello, a dog",
        "background: green",
        "the background is red",
        "starry background",
    ),
    *("dog on blue", "cat and cat dog", "no cat", "without a dog", "I want a lion", "sad", "black"),
    *(
        "flat 3d cat",
        "watercolor cat",
        "black background cat",
        "red and blue background",
        "unicode",
    ),
    *("<img src=x onerror=alert(1)>", "<script>", "<|endoftext|>", "__proto__", "constructor"),
    *(
        "toString",
        "hasOwnProperty cat",
        "' OR 1=1",
        "$(rm -rf)",
        "`cat`",
        "%00",
        "\\n\\u0041",
        "NaN",
    ),
)


def prompts() -> list[str]:
    """What people write: all of both sets of prompts beside the reader's own tests."""
    lines = [
        line.rpartition(" => ")[0]
        for name in ("kept", "unseen")
        for line in (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        if " => " in line
    ]
    return [line for line in lines if not line.startswith("#")]


def garbled(texts: list[str], count: int) -> list[str]:
    """Texts cut, joined and misspelt at random."""
    rng = random.Random(0)
    found = []
    for _ in range(count):
        words = " ".join(rng.sample([*texts, *ODD[5:]], 3)).split(" ")
        words = [word[:40] for word in rng.sample(words, min(len(words), 9))]
        at = rng.randrange(len(words))
        cut = rng.randrange(len(words[at]) + 1)
        words[at] = words[at][:cut] + rng.choice("abcdeilmnorstuy") + words[at][cut + 1 :]
        found.append(rng.choice([" ", " ", ", "]).join(words))
    return found


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    found = Vocabulary.load(find_models()[0].folder)
    assert found is not None
    return found


READ = """const { Lexicon } = await module("lexicon.js"), r = await module("reading.js");
    const known = new Lexicon(await (await fetch(`/models/${given.model}/reader.json`)).json());
    return given.texts.map((text) => {
      const reading = r.read(text, known);
      return [reading.caption, r.describe(reading)];
    });"""


def test_every_prompt_is_read_as_in_python(engine: Engine, vocabulary: Vocabulary) -> None:
    written = prompts()
    assert len(written) > 350 and len(ODD) > 100
    names = [text for concept in load_concepts() for text in (concept.name, concept.char)]
    texts = [*written, *ODD, *garbled(written, 300), *names]
    found = engine.run(READ, {"model": find_models()[0].name, "texts": texts})
    readings = [read(text, vocabulary) for text in texts]
    expected = [[reading.caption, reading.describe()] for reading in readings]
    differ = [(t, a, b) for t, a, b in zip(texts, found, expected, strict=True) if a != b]
    assert not differ, differ[:5]
    said = "; ".join(sentence for _, sentence in found)
    for what in ("taking", "left out", "no background is", "of two", "a picture shows one thing",
                 "only English is read", "the text is empty", "letters cannot", "itself was not",
                 "addresses are not read", "only its first 1,000", "it names no"):  # fmt: skip
        assert what in said, what


CHOOSE = """const { readPrompt } = await module("reader.js");
    const { Lexicon } = await module("lexicon.js"), { readFiles } = await module("files.js");
    const source = { base: "/models/emoji-64/", bytes: 1 }, tokenizer = pipeline.tokenizer;
    const real = fetch, answer = async (kind) => {
      window.fetch = async (path) => {
        if (!path.endsWith("concepts.json")) return real(path);
        const words = { ...await (await real(path)).json(), ...kind };
        return kind ? new Response(JSON.stringify(words)) : new Response("", { status: 404 });
      };
      const files = await readFiles(source, () => {});
      const known = files["reader.json"] && new Lexicon(files["reader.json"]);
      const model = { known, taught: files["concepts.json"], tokenizer };
      return [false, true].map((literal) => readPrompt("a lovely cat", model, literal));
    };
    try {
      return { bare: await answer({}), emoji: await answer({ kind: "emoji" }),
        scenes: await answer({ kind: "scenes" }), none: await answer(null) };
    } finally { window.fetch = real; }"""


def test_only_a_model_of_emoji_has_its_prompts_read(engine: Engine) -> None:
    found = engine.run(CHOOSE)
    for kind in ("bare", "emoji"):
        read_, literal = found[kind]
        assert read_["caption"] == "a cat face"
        assert read_["said"] == "Read as: a cat face; left out: lovely."
        assert (literal["caption"], literal["said"]) == ("a lovely cat", "")
    for kind in ("scenes", "none"):
        for answer in found[kind]:
            assert (answer["caption"], answer["said"]) == ("a lovely cat", "")


def test_a_model_without_words_or_of_scenes_gets_no_index(tmp_path: Path) -> None:
    folder = find_models()[0].folder
    assert READER in Model("emoji-64", folder).made()
    assert Model("none", tmp_path / "none").made() == {}
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    text = (folder / "concepts.json").read_text(encoding="utf-8")
    text = re.sub(r"^\{", '{ "kind": "scenes",', text)
    (scenes / "concepts.json").write_text(text, encoding="utf-8")
    assert Model("scenes", scenes).made() == {}
