"""The reader: the right thing for prompts as people write them, a clear sentence for the rest."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from course_utils.data import BACKGROUNDS, STYLES, full_caption, load_concepts, subsets
from course_utils.data.captions import spoken_name
from course_utils.reader import Reading, read
from course_utils.reader.slips import edits
from course_utils.reader.tables import FOLDER, table, word_list
from course_utils.vocabulary import Vocabulary, words_of

HERE = Path(__file__).parent
BARS = {"kept": 0.97, "unseen": 0.95}


@dataclass(frozen=True)
class Case:
    """One prompt and what is right: things ("-": none), style and background ("?": any)."""

    kind: str
    prompt: str
    things: tuple[str, ...]
    style: str
    background: str


def cases(name: str) -> list[Case]:
    """The prompts of a file beside this one."""
    found, kind = [], ""
    for line in (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("kind: "):
            kind = line.removeprefix("kind: ")
        elif kind and line:
            prompt, _, right = line.rpartition(" => ")
            extra = re.search(r" \[(.+), (.+)\]$", right)
            things = right[: extra.start()] if extra else right
            style, background = extra.groups() if extra else ("?", "?")
            found.append(Case(kind, prompt, tuple(things.split(" | ")), style, background))
    return found


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    found = Vocabulary.load("course_utils/weights/emoji-64")
    assert found is not None
    return found


# --- as people write -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BARS)
def test_right_thing_for_prompts_as_people_write_them(name: str, vocabulary: Vocabulary) -> None:
    """How many were right, by kind of prompt, stands in the message."""
    right: dict[str, list[bool]] = defaultdict(list)
    for case in cases(name):
        reading = read(case.prompt, vocabulary)
        right[case.kind].append((reading.thing or "-") in case.things)
    share = sum(map(sum, right.values())) / sum(map(len, right.values()))
    by_kind = ", ".join(f"{kind} {sum(each)} of {len(each)}" for kind, each in right.items())
    assert share >= BARS[name], f"{share:.1%} of {name}: {by_kind}"


def test_styles_and_backgrounds_that_are_asked_for(vocabulary: Vocabulary) -> None:
    asked = [case for case in cases("kept") if (case.style, case.background) != ("?", "?")]
    assert len(asked) > 30
    for case in asked:
        reading = read(case.prompt, vocabulary)
        for wanted, found in ((case.style, reading.style), (case.background, reading.background)):
            assert wanted in ("?", found), case


def test_the_sets_are_large_varied_and_apart() -> None:
    names = {concept.name for concept in load_concepts("everyday")} | {"-"}
    kept, unseen = cases("kept"), cases("unseen")
    assert len(kept) >= 200 and len(unseen) >= 120
    assert len({case.kind for case in kept}) >= 10 and len({case.kind for case in unseen}) >= 10
    prompts = [case.prompt for case in (*kept, *unseen)]
    assert len(set(prompts)) == len(prompts)
    for case in (*kept, *unseen):
        assert names.issuperset(case.things), case


@pytest.mark.parametrize(
    ("prompt", "caption"),
    [
        ("draw a cat", "a cat face"),
        ("please paint me a lovely old wizard, 4k", "a mage"),
        ("🐱", "a cat face"),
        ("2 doggos pls", "a dog face"),
        ("kartoon elefant", "an elephant, noto style"),
        ("red sports car", "an automobile"),
        ("blue whale", "a spouting whale"),
        ("coffee cup", "a hot beverage"),
        ("strawberry ice cream", "a soft ice cream"),
        ("a big blue fluffy heart", "a blue heart"),
        ("a red cat on a red background", "a cat face on a red background"),
        (
            "3d icon of a green apple, teal backdrop",
            "a green apple, 3d style, on a teal background",
        ),
        ("flat style, red background", "flat style, on a red background"),
    ],
)
def test_captions(prompt: str, caption: str, vocabulary: Vocabulary) -> None:
    reading = read(prompt, vocabulary)
    assert reading.caption == caption
    assert reading.describe().startswith(f"read as: {caption}")
    assert reading.text == prompt


def test_a_full_caption_stays_what_it_is(vocabulary: Vocabulary) -> None:
    """So a caption that was read once is read as itself."""
    for i, concept in enumerate(load_concepts("everyday")):
        style, background = STYLES[i % 4], list(BACKGROUNDS)[i % 10]
        caption = full_caption(concept.name, style, background)
        reading = read(caption, vocabulary)
        assert reading.caption == caption
        assert (reading.thing, reading.left_out) == (concept.name, ())


def test_every_word_is_accounted_for(vocabulary: Vocabulary) -> None:
    reading = read("please paint me a lovely old wizard, 4k, cartoon", vocabulary)
    assert reading.kept == ("wizard", "cartoon")
    assert reading.left_out == ("please", "paint me", "lovely", "old", "4k")
    assert reading.replaced == (("wizard", "a mage"), ("cartoon", "noto style"))
    assert reading.describe() == (
        'read as: a mage, noto style; taking "wizard" as a mage, "cartoon" as noto style; '
        "left out: please, paint me, lovely, old, 4k"
    )


@pytest.mark.parametrize("prompt", ["big", "happy", "a happy thing", "small red", "beautiful"])
def test_an_adjective_is_no_face(prompt: str, vocabulary: Vocabulary) -> None:
    assert read(prompt, vocabulary).thing is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("⭐", "⭐\ufe0f"),
        ("⚽", "⚽\ufe0f"),
        ("🏠", "🏠\ufe0f"),
        ("👍", "👍🏾"),
        ("👩‍🚀", "👩🏿‍🚀"),
        ("piñata", "pin\u0303ata"),
        ("a wizard’s hat", "a wizard's hat"),
        ("CAT", "cat"),
    ],
)
def test_what_looks_the_same_reads_the_same(one: str, other: str, vocabulary: Vocabulary) -> None:
    first, second = read(one, vocabulary), read(other, vocabulary)
    assert first.thing is not None
    assert first.caption == second.caption
    assert words_of(one) == words_of(other)
    assert vocabulary.unknown_words(one) == vocabulary.unknown_words(other)


def test_an_emoji_without_its_selector_gets_a_suggestion(vocabulary: Vocabulary) -> None:
    for sign, name in (("⭐", "star"), ("⚽", "soccer ball"), ("🏠", "house"), ("❤", "red heart")):
        assert vocabulary.unknown_words(sign)[0].suggestions == (name,)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "the text is empty"),
        (" \n\t", "the text is empty"),
        ("猫を描いて", "only English is read"),
        ("قطة على خلفية زرقاء", "only English is read"),
        ("eine Katze", "only English is read"),
        ("zxcvb qwrtp", "nothing that this model was taught"),
        ("please draw", "it names no thing"),
        ("beautiful amazing wow", "it names no thing"),
        ("on the left, on the right", "nothing that this model was taught"),
        ("Albert Einstein", "nothing that this model was taught"),
        ("the text HELLO WORLD", "letters cannot be drawn"),
        ("https://example.org/cat.png?id=12", "addresses are not read"),
        ("for i in range(3): print(i)", "nothing that this model was taught"),
        ("SELECT * FROM users;", "nothing that this model was taught"),
        ("\ud800", "it names no thing"),
        ("...", "it names no thing"),
        ("no cats", "nothing that this model was taught"),
    ],
)
def test_nothing_to_draw_is_said(prompt: str, words: str, vocabulary: Vocabulary) -> None:
    """The noise decides, and three things that can be drawn are offered."""
    reading = read(prompt, vocabulary)
    assert (reading.thing, reading.caption) == (None, "")
    assert words in reading.describe() and "\n" not in reading.describe()
    assert len(reading.near) == 3
    assert all(read(name, vocabulary).thing for name in reading.near)
    assert f"or {spoken_name(reading.near[2])}" in reading.describe()


@pytest.mark.parametrize(
    ("prompt", "thing", "words"),
    [
        ("cat " * 2500, "cat face", "only its first 1,000 signs are read"),
        ("a cat and a dog", "cat face", "a picture shows one thing"),
        ("a walrus", "seal", '"walrus" itself was not taught'),
        ("a ghost on a black background", "ghost", "no background is black"),
        ("a cat on a starry background", "cat face", "backgrounds are plain colours"),
        ("a cat on a red background, on a blue background", "cat face", "of two backgrounds"),
        ("a 3d flat cat", "cat face", "of two styles it takes 3d"),
        (
            "watercolor painting of a rose",
            "rose",
            'the style "watercolor painting of" is not known',
        ),
        ("a fire zapper", "fire", '"fire zapper" is not known, only "fire"'),
        ("a robot saying hello", "robot", "letters cannot be drawn"),
        ("a cat without a hat", "cat face", "left out: without, hat"),
        (
            ", ".join(concept.name for concept in load_concepts("core")[:50]),
            "cat face",
            "one thing",
        ),
    ],
)
def test_what_cannot_be_had_is_said(
    prompt: str, thing: str, words: str, vocabulary: Vocabulary
) -> None:
    reading = read(prompt, vocabulary)
    assert reading.thing == thing
    assert words in reading.describe()
    assert len(reading.describe()) < 400


def test_no_text_and_no_vocabulary(vocabulary: Vocabulary) -> None:
    assert read("draw a cat", None) == Reading("draw a cat", "draw a cat")
    with pytest.raises(TypeError, match="text is 7; expected a text"):
        read(7, vocabulary)  # type: ignore[arg-type]


def test_another_vocabulary_has_its_own_things_and_styles() -> None:
    class Thing:
        name, synonyms = "cat face", ("cat",)

    small = Vocabulary("mine", (Thing(),), styles=("flat",), backgrounds=("blue",))  # type: ignore[arg-type]
    reading = read("a 3d kitten on red, with a dog", small)
    assert reading.caption == "a cat face"
    assert read("a dog", small).thing is None
    assert read("flat cat on blue", small).caption == "a cat face, flat style, on a blue background"


@pytest.mark.parametrize("subset", [name for name in subsets() if name != "all"])
def test_only_things_of_the_vocabulary(subset: str) -> None:
    concepts = load_concepts(subset)
    vocabulary = Vocabulary(subset, concepts, STYLES, tuple(BACKGROUNDS))  # type: ignore[arg-type]
    names = {concept.name for concept in concepts}
    for case in cases("kept"):
        reading = read(case.prompt, vocabulary)
        assert reading.thing is None or reading.thing in names
        assert names.issuperset(reading.near)


# --- parts ---------------------------------------------------------------------------------------


def test_edits_is_the_optimal_string_alignment_distance() -> None:
    distance = pytest.importorskip("rapidfuzz.distance").OSA.distance
    words = [*sorted(word_list("real_words"))[::97], "elephant", "elehpant", "ca", "abc", ""]
    for a in words:
        for b in words:
            assert edits(a, b, 2) == min(distance(a, b), 3), (a, b)


def test_a_real_word_is_no_slip(vocabulary: Vocabulary) -> None:
    for word in ("bard", "range", "peat", "hoping", "washers"):
        assert read(word, vocabulary).replaced == ()


def test_tables_name_things_that_there_are() -> None:
    names = {concept.name for concept in load_concepts("everyday")}
    said: dict[str, str] = {}
    for source in ("things", "wordnet"):
        for name, words in table(source):
            assert name in names, (source, name)
            for word in words:
                assert re.fullmatch(r"[a-z0-9'& .-]+\*?", word), (source, word)
                assert said.setdefault(word, name) == name, f"{word} names two things"
    for line, things in table("near"):
        assert names.issuperset(things), line
    refused = word_list("refused")
    assert not {word for _, words in table("wordnet") for word in words} & refused
    assert {colour for colour, _ in table("colours")} == {*BACKGROUNDS, "none"}
    assert {style for style, _ in table("styles")} == {*STYLES, "none"}


def test_it_takes_under_five_milliseconds(vocabulary: Vocabulary) -> None:
    prompts = [case.prompt for name in BARS for case in cases(name)]
    read(prompts[0], vocabulary)  # builds the index
    started = time.process_time()
    for prompt in prompts:
        read(prompt, vocabulary)
    assert (time.process_time() - started) / len(prompts) < 0.005


@pytest.mark.slow
@pytest.mark.skipif("COURSE_NPM_DIR" not in os.environ, reason="COURSE_NPM_DIR is not set")
def test_rebuild_gives_the_shipped_tables(tmp_path: Path) -> None:
    from course_utils.reader.rebuild import build

    build(Path(os.environ["COURSE_NPM_DIR"]), tmp_path)
    for name in ("wordnet.txt", "real_words.txt"):
        assert (tmp_path / name).read_text("utf-8") == (FOLDER / name).read_text("utf-8")
