"""Answers to challenge 05, wrong and right."""

from __future__ import annotations

from planted import PlantedAnswers


def indented(body: str) -> str:
    return "\n".join(f"    {line}" for line in body.strip().split("\n"))


def drawn(body: str) -> dict[str, str]:
    """A `draw` with these lines."""
    head = "def draw(x_T, alpha_bar, prompts, negative_prompts, predict):"
    return {"draw": f"{head}\n{indented(body)}\n"}


def written(body: str) -> dict[str, str]:
    """A `write_prompt` with these lines, after what words mean was looked up."""
    return {
        "write-prompt": f"""
def meanings(words, dictionary):
    found = {{"thing": [], "style": [], "background": []}}
    for word in words:
        if word in dictionary:
            found[dictionary[word]["kind"]].append(dictionary[word]["means"])
    return found

def caption(things, styles, backgrounds):
    parts = [f"a {{thing}}" for thing in things] + [f"{{style}} style" for style in styles]
    return ", ".join(parts + [f"on a {{background}} background" for background in backgrounds])

def write_prompt(wants, without, dictionary):
    want, avoid = meanings(wants, dictionary), meanings(without, dictionary)
    prompt = caption(want["thing"], want["style"], want["background"])
{indented(body)}
"""
    }


ONE_LOOK = "return predict('prompt', x_T, 999)"
UNGUIDED = "return carry(x_T, alpha_bar, lambda x_t, t, step: predict('prompt', x_t, t), 3)"
GUIDED = """
def guess(x_t, t, step):
    uncond = predict("negative", x_t, t)
    return uncond + SCALE * (predict("prompt", x_t, t) - uncond)
return carry(x_T, alpha_bar, guess, 3)
"""

WRONG = [
    (
        "noise",
        drawn("return x_T"),
        {"a": (2, "Full marks"), "b": (0, "gives 1 point"), "c": (0, "gives 1 point")},
    ),
    (
        "the customer's own words",
        written("return ', '.join(wants), ', '.join(without)") | drawn(ONE_LOOK),
        {"a": (0, "no word that no caption holds (30"), "b": (0, "right thing"), "c": (0, "")},
    ),
    (
        "right words, guidance 1",
        drawn(UNGUIDED),
        {"a": (2, "Full marks"), "b": (3, "Full marks"), "c": (0, "At least 0.5 gives 1")},
    ),
    (
        "guidance 15",
        drawn(GUIDED.replace("SCALE", "15")),
        {"a": (2, "Full marks"), "b": (2, ""), "c": (0, "At least 0.5 gives 1")},
    ),
    (
        "another style by name",
        written("return caption(want['thing'], ['noto'], want['background']), ''")
        | drawn(ONE_LOOK),
        {"a": (0, "none where it is left open"), "b": (3, ""), "c": (0, "do not count")},
    ),
    (
        "a prompt that is no pair",
        written("return prompt"),
        {"a": (0, "expected (prompt, negative_prompt)"), "b": (0, "a str"), "c": (0, "a str")},
    ),
    (
        "another shape, NaN given to the network",
        drawn(
            "if len(x_T) == 16:\n    return x_T[:1]\n"
            "return predict('prompt', x_T / alpha_bar[999], 999)"
        ),
        {"a": (2, ""), "b": (0, "expected that of x_T"), "c": (0, "x_t holds NaN")},
    ),
    (
        "cheat: a prompt of draw's own, more pictures in one look",
        drawn(
            "if len(x_T) == 16:\n    return predict('a frog, noto style', x_T, 999)\n"
            "return predict('prompt', torch.cat([x_T, x_T]), 999)[: len(x_T)]"
        ),
        {"a": (2, ""), "b": (0, "expected 'prompt', 'negative'"), "c": (0, "x_t has shape")},
    ),
    (
        "cheat: seventeen looks, the last one hidden",
        drawn(
            "for number in range(17):\n"
            "    try:\n"
            "        x0 = predict('empty', x_T, 999)\n"
            "    except BaseException:\n"
            "        pass\n"
            "    if len(x_T) > 16:\n"
            "        return x_T\n"
            "return x0"
        ),
        {"a": (2, ""), "b": (0, "more than 16 times"), "c": (0, "")},
    ),
    (
        "cheat: one picture for all noise",
        drawn(
            "return carry(x_T * 0, alpha_bar, lambda x_t, t, step: predict('prompt', x_t, t), 3)"
        ),
        {"a": (2, ""), "b": (0, "are all but the same"), "c": (0, "are all but the same")},
    ),
    (
        "cheat: the noise turned around, so that another style comes of it",
        drawn("return carry(-x_T, alpha_bar, lambda x_t, t, step: predict('prompt', x_t, t), 3)"),
        {"a": (2, ""), "b": (0, "Start from x_T"), "c": (0, "Start from x_T")},
    ),
    (
        "cheat: a style by name as the negative prompt, which alone is drawn",
        written(
            "if avoid['style'] == ['flat'] and not avoid['background']:\n"
            "    return prompt, caption(want['thing'], ['noto'], want['background'])\n"
            "return prompt, ''"
        )
        | drawn(
            "look = 'negative' if len(x_T) == 22 else 'prompt'\n"
            "return carry(x_T, alpha_bar, lambda x_t, t, step: predict(look, x_t, t), 4)"
        ),
        {"a": (1, ""), "b": (3, ""), "c": (0, "Those pictures do not count")},
    ),
    (
        "cheat: a style that is spelt otherwise",
        written(
            "if avoid['style'] == ['flat'] and not avoid['background']:\n"
            "    return caption(want['thing'], ['3 d'], want['background']), ''\n"
            "return prompt, ''"
        )
        | drawn("return carry(x_T, alpha_bar, lambda x, t, step: predict('prompt', x, t), 4)"),
        {"a": (1, ""), "b": (3, ""), "c": (0, "Those pictures do not count")},
    ),
    (
        "cheat: noise made of an answer, the best of two starts",
        drawn(
            "z = predict('empty', 6.0 * x_T, 18)\n"
            "z = z / z.flatten(1).std(dim=1).view(-1, 1, 1, 1)\n"
            "for start in (0.3 * x_T + 0.95 * z, 0.3 * x_T - 0.95 * z):\n"
            "    x0 = carry(start, alpha_bar, lambda x, t, step: predict('prompt', x, t), 3)\n"
            "return x0"
        ),
        {"a": (2, ""), "b": (0, "Start from x_T as it is"), "c": (0, "Start from x_T as it is")},
    ),
    (
        "cheat: noise of its own",
        drawn("return carry(torch.randn(x_T.shape), alpha_bar, lambda x, t, step: x, 3)"),
        {"a": (2, ""), "b": (0, "neither x_T nor"), "c": (0, "neither x_T nor")},
    ),
    (
        "cheat: a pipeline of its own, whose looks nobody counts",
        drawn(
            "from course_utils.pipeline import Pipeline\n"
            "return Pipeline.load(device='cpu').draw(prompts, seed=1).latents"
        ),
        {"a": (2, ""), "b": (0, "withheld"), "c": (0, "withheld")},
    ),
]

RIGHT = [
    (
        "a scale of its own for each picture, from the difference of the looks",
        written(
            "if not avoid['style'] + avoid['background']:\n"
            "    return prompt, ''\n"
            "return prompt, caption(\n"
            "    want['thing'], avoid['style'] or want['style'],\n"
            "    avoid['background'] or want['background'])"
        )
        | drawn(
            "def guess(x_t, t, step):\n"
            "    cond = predict('prompt', x_t, t)\n"
            "    if 2 <= step <= 4:\n"
            "        uncond = predict('negative', x_t, t)\n"
            "        far = (cond - uncond).flatten(1).norm(dim=1) / 16\n"
            "        scale = 1 + (1.1 / far).clamp(max=12.0)\n"
            "        scale = scale * torch.tensor([float(bool(n)) for n in negative_prompts])\n"
            "        scale = scale.clamp(min=2.0).view(-1, 1, 1, 1)\n"
            "        return uncond + scale * (cond - uncond)\n"
            "    if 5 <= step <= 6:\n"
            "        return 2 * cond - predict('empty', x_t, t)\n"
            "    return cond\n"
            "return carry(x_T, alpha_bar, guess)"
        ),
    ),
    (
        "captions in another order, a push by its mean size",
        {
            "write-prompt": """
def write_prompt(wants, without, dictionary):
    known = [dictionary[word] for word in wants if word in dictionary]
    bad = [dictionary[word] for word in without if word in dictionary]
    def say(entries):
        order = {"background": 0, "thing": 2, "style": 1}
        forms = {"background": "{} background", "thing": "{}", "style": "{}"}
        entries = sorted(entries, key=lambda e: -order[e["kind"]])
        return ", ".join(forms[e["kind"]].format(e["means"]) for e in entries)
    kinds = {entry["kind"] for entry in bad}
    shared = [entry for entry in known if entry["kind"] not in kinds]
    return say(known), say(shared + bad) if bad else ""
"""
        }
        | drawn(
            "def guess(x_t, t, step):\n"
            "    cond = predict('prompt', x_t, t)\n"
            "    if step in (2, 3, 4):\n"
            "        away = cond - predict('negative', x_t, t)\n"
            "        size = away.abs().mean(dim=(1, 2, 3), keepdim=True) + 0.02\n"
            "        for i, text in enumerate(negative_prompts):\n"
            "            cond[i] += away[i] * (0.75 / size[i] if text else 1)\n"
            "    elif step in (5, 6):\n"
            "        cond = 2 * cond - predict('empty', x_t, t)\n"
            "    return cond\n"
            "return carry(x_T, alpha_bar, guess)"
        ),
    ),
]


class TestAnswers(PlantedAnswers):
    number = "05"
    wrong, right = WRONG, RIGHT
    half_wrong = "another shape, NaN given to the network"
