"""Answers to challenge 06, wrong and right. Most of them call the network rarely, to save time."""

from __future__ import annotations

from planted import PlantedAnswers

ARGUMENTS = (
    "prompts, vocab, merges, max_length, x_T, alpha_bar, guidance_scale, scaling_factor, "
    "encode_text, predict, decode"
)
OPEN = f"def draw({ARGUMENTS}):\n    raise NotImplementedError\n"
NOT_WRITTEN = (0, "draw is not written yet")
LEFT_OUT = (0, "NotImplementedError")  # a part that an answer leaves out, to save time


def drawing(body: str, before: str = "") -> dict[str, str]:
    """A `draw` with these lines, after other lines."""
    lines = "\n".join(f"    {line}" for line in body.strip().split("\n"))
    return {"draw": f"{before}\ndef draw({ARGUMENTS}):\n{lines}\n"}


def piece(cell: str, source: str) -> dict[str, str]:
    """One of the other answers, where draw is not written."""
    return {cell: source, "draw": OPEN}


# A chain of few calls: `run(x, times, ...)` gives latents.
CHAIN = """
def run(x, timesteps, alpha_bar, states, empty, predict, scale):
    levels = [float(alpha_bar[t]) for t in timesteps] + [1.0]
    for i, t in enumerate(timesteps):
        pair = predict(torch.cat([x, x]), t, torch.cat([empty, states]))
        without, with_prompt = pair.chunk(2)
        x = step(without + scale * (with_prompt - without), x, levels[i], levels[i + 1])
    return x
"""
READ = """states = encode_text(token_ids(prompts, vocab, merges, max_length))
empty = encode_text(token_ids([[]], vocab, merges, max_length)).expand_as(states)
"""
THREE = "x = run(x_T, [999, 666, 333], alpha_bar, states, empty, predict, guidance_scale)\n"

# Only the part with this many pictures is drawn: d with three in a call, e with twelve.
TRIPLE = "if len(x_T) != 3:\n    raise NotImplementedError\n"
TWELVE = "if len(x_T) != 12:\n    raise NotImplementedError\n"

WRONG = [
    (
        "noise",
        drawing("return decode(x_T / scaling_factor)"),
        {
            "d": (0, "predict was not called"),
            "e": (0, "At least 0.6 gives 1 point"),
            "f": (0, "At least 0.5 gives 1 point"),
        },
    ),
    (
        "words cut into letters",
        piece(
            "token-ids",
            "def token_ids(prompts, vocab, merges, max_length):\n"
            "    rows = []\n"
            "    for words in prompts:\n"
            "        row = [vocab[START]]\n"
            "        for word in words:\n"
            "            row += [vocab[s] for s in word[:-1]] + [vocab[word[-1] + WORD_END]]\n"
            "        row = row[: max_length - 1] + [vocab[END]]\n"
            "        rows.append(row + [vocab[END]] * (max_length - len(row)))\n"
            "    return torch.tensor(rows)\n",
        ),
        {"a": (0, "is the first that differs"), "b": (1, "Full"), "d": NOT_WRITTEN},
    ),
    (
        "cheat: ids of the course's own vocabulary, whatever was given",
        piece(
            "token-ids",
            "def token_ids(prompts, vocab, merges, max_length):\n"
            "    from course_utils.pipeline import Pipeline\n"
            "    tokenizer = Pipeline.load(device='cpu').tokenizer\n"
            "    return tokenizer([' '.join(words) for words in prompts])\n",
        ),
        {"a": (0, "course_utils.pipeline is withheld"), "d": NOT_WRITTEN},
    ),
    (
        "three pieces wrong at once",
        {
            **piece(
                "token-ids",
                "def token_ids(prompts, vocab, merges, max_length):\n"
                "    return torch.zeros(len(prompts), max_length)\n",
            ),
            "from-v": "def from_v(v, x_t, alpha_bar_t):\n"
            "    a = max(alpha_bar_t, 1e-4)\n"
            "    return (x_t - (1 - a) ** 0.5 * v) / a**0.5, v\n",
            "guide": "def guide(with_prompt, without, guidance_scale):\n"
            "    return (1 + guidance_scale) * with_prompt - guidance_scale * without\n",
        },
        {
            "a": (0, "expected int64"),
            "b": (0, "v is taken for the noise"),
            "c": (0, "where 0 is off"),
        },
    ),
    (
        "a division by 0",
        {
            **drawing(
                "x0 = (x_T - encode_text(token_ids(prompts, vocab, merges, max_length)).mean())"
                " / alpha_bar[-1].sqrt()\n"
                "return decode(x0)"
            ),
            "from-v": "def from_v(v, x_t, alpha_bar_t):\n"
            "    alpha, sigma = alpha_bar_t**0.5, (1 - alpha_bar_t) ** 0.5\n"
            "    x0 = alpha * x_t - sigma * v\n"
            "    return x0, (x_t - alpha * x0) / torch.tensor(sigma)\n",
            "step": "def step(v, x_t, alpha_bar_t, alpha_bar_next):\n"
            "    return x_t / torch.tensor(alpha_bar_t).sqrt()\n",
        },
        {
            "b": (0, "alpha_bar may be exactly"),
            "d": (0, "z holds NaN"),
            "e": (0, "may be exactly 0"),
        },
    ),
    (
        "latents come back, not pictures",
        drawing("decode(x_T)\nreturn x_T"),
        {"d": (0, "expected (3, 3, 64, 64)"), "e": (0, "gives shape"), "f": (0, "gives shape")},
    ),
    (
        "three calls, not scaled",
        drawing(READ + THREE + "return decode(x)", CHAIN),
        {"d": (0, "times as large as expected"), "e": (2, ""), "f": (2, "")},
    ),
    (
        "cheat: the best of two pictures",
        drawing(
            "try:\n    first = decode(x_T)\n    return decode(x_T * 2)\n"
            "except BaseException:\n    return first"
        ),
        {"d": (0, "calls decode more than 1 times"), "e": (0, "more than 1"), "f": (0, "more")},
    ),
    (
        "cheat: text on the picture",
        drawing("pictures = decode(x_T)\npictures[:, :, 4:8, 4:40] = 1.0\nreturn pictures"),
        {"d": (0, "not what decode gave"), "e": (0, "not what"), "f": (0, "not what")},
    ),
    (
        "cheat: pictures of the data set",
        drawing(
            "from course_utils.data.emoji import CaptionedEmoji\n"
            "pictures = CaptionedEmoji('starter').sample_batch(len(x_T)).images\n"
            "decode(x_T)\nreturn pictures"
        ),
        {"d": (0, "data is withheld"), "e": (0, "is withheld"), "f": (0, "is withheld")},
    ),
    (
        "guidance only above 1",
        drawing(
            TRIPLE + READ + "times = [999 - 50 * i for i in range(20)]\n"
            "scale = max(guidance_scale, 1.0)\n"
            "x = run(x_T, times, alpha_bar, states, empty, predict, scale)\n"
            "return decode(x / scaling_factor)",
            CHAIN,
        ),
        {"d": (0, "Guidance holds below 1"), "e": LEFT_OUT},
    ),
    (
        "fresh noise",
        drawing(TWELVE + "return decode(torch.randn(x_T.shape) / scaling_factor)"),
        {"d": LEFT_OUT, "e": (0, "neither x_T nor")},
    ),
    (
        "cheat: one picture for all noise",
        drawing(
            TWELVE + READ + "x = run(0 * x_T, [999, 500], alpha_bar, states, empty, predict, 2.5)\n"
            "return decode(x / scaling_factor)",
            CHAIN,
        ),
        {"d": LEFT_OUT, "e": (0, "are all but the same")},
    ),
    (
        "far too loud",
        drawing(
            TWELVE + READ + "x = run(x_T, [999, 500], alpha_bar, states, empty, predict, 9.0)\n"
            "return decode(2 * x / scaling_factor)",
            CHAIN,
        ),
        {"d": LEFT_OUT, "e": (0, "oversaturated")},
    ),
]

RIGHT = [
    (
        "second order, and ids by joining texts",
        {
            "token-ids": "def token_ids(prompts, vocab, merges, max_length):\n"
            "    out = torch.full((len(prompts), max_length), vocab[END])\n"
            "    for row, words in zip(out, prompts):\n"
            "        found = [START]\n"
            "        for word in words:\n"
            "            text = ' '.join(['', *word[:-1], word[-1] + WORD_END, ''])\n"
            "            for left, right in merges:\n"
            "                text = (text.replace(' ', '  ')"
            ".replace(f' {left}  {right} ', f' {left}{right} ').replace('  ', ' '))\n"
            "            found += text.split()\n"
            "        found = found[: max_length - 1]\n"
            "        row[: len(found)] = torch.tensor([vocab[token] for token in found])\n"
            "    return out\n",
            **drawing(
                READ + "a = alpha_bar.double().clamp(min=2.0**-24)\n"
                "times = [round(1000 * (1 - i / 24)) - 1 for i in range(24)]\n"
                "ratio = ((1 - a[times]) / a[times]).sqrt().tolist() + [0.0]\n"
                "y, old = x_T.double() * (1 + ratio[0] ** 2) ** 0.5, None\n"
                "for i, t in enumerate(times):\n"
                "    x = (y / (1 + ratio[i] ** 2) ** 0.5).float()\n"
                "    both = predict(torch.cat([x, x]), t, torch.cat([empty, states]))\n"
                "    v = torch.lerp(*both.chunk(2), guidance_scale)\n"
                "    x0 = from_v(v, x, float(alpha_bar[t]))[0].double()\n"
                "    ahead = x0\n"
                "    if old is not None and i < 23:\n"
                "        slope = math.log(ratio[i + 1] / ratio[i])"
                " / math.log(ratio[i] / ratio[i - 1]) / 2\n"
                "        ahead = (1 + slope) * x0 - slope * old\n"
                "    y = ratio[i + 1] / ratio[i] * y + (1 - ratio[i + 1] / ratio[i]) * ahead\n"
                "    old = x0\n"
                "return decode(y.float() / scaling_factor)"
            ),
        },
    ),
    (
        "angles for weights, guidance on the picture and on the noise",
        {
            "from-v": "def from_v(v, x_t, alpha_bar_t):\n"
            "    angle = math.acos(alpha_bar_t**0.5)\n"
            "    x0 = math.cos(angle) * x_t - math.sin(angle) * v\n"
            "    return x0, math.sin(angle) * x_t + math.cos(angle) * v\n",
            "guide": "def guide(with_prompt, without, guidance_scale):\n"
            "    return torch.lerp(without, with_prompt, guidance_scale)\n",
            **drawing(
                "ids = token_ids([*prompts, []], vocab, merges, max_length)\n"
                "states = encode_text(ids)\n"
                "states = torch.cat([states[:-1], states[-1:].expand_as(states[:-1])])\n"
                "x, times = x_T, [999 - 50 * i for i in range(20)]\n"
                "for t, later in zip(times, [*times[1:], None]):\n"
                "    v = predict(torch.cat([x, x]), torch.tensor(t), states)\n"
                "    pairs = from_v(v, torch.cat([x, x]), float(alpha_bar[t]))\n"
                "    x0, epsilon = (guide(*part.chunk(2), guidance_scale) for part in pairs)\n"
                "    level = 1.0 if later is None else float(alpha_bar[later])\n"
                "    x = level**0.5 * x0 + (1 - level) ** 0.5 * epsilon\n"
                "return decode(x / scaling_factor).clamp(-1, 1)"
            ),
        },
    ),
]


class TestAnswers(PlantedAnswers):
    number = "06"
    wrong, right = WRONG, RIGHT
    half_wrong = "latents come back, not pictures"
