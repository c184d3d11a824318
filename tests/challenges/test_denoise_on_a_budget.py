"""Answers to challenge 02, wrong and right."""

from __future__ import annotations

from planted import PlantedAnswers


def answer(body: str, before: str = "") -> dict[str, str]:
    """A `sample` with these lines, after other lines."""
    lines = "\n".join(f"    {line}" for line in body.strip().split("\n"))
    return {"sample": f"{before}\ndef sample(x_T, alpha_bar, denoise):\n{lines}\n"}


SOLVER = """
def solve(x, alpha_bar, denoise, timesteps, order=2):
    a = alpha_bar.double()[timesteps].clamp(min=2.0**-24)
    alpha, sigma = a.sqrt().tolist(), (1 - a).sqrt().tolist()
    lam = [math.log(u / v) for u, v in zip(alpha, sigma)]
    before = None
    for i, t in enumerate(timesteps):
        x0 = denoise(x, t)
        if i + 1 == len(timesteps):
            return x0
        h = lam[i + 1] - lam[i]
        guess = x0
        if before is not None and order == 2:
            guess = x0 + (x0 - before) * h / (2 * (lam[i] - lam[i - 1]))
        x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * math.expm1(-h) * guess
        before = x0

def planned(alpha_bar):
    a = alpha_bar.double()
    clock = (a / (1 - a)).log() / 2
    marks = torch.linspace(-1.25, 2, 7, dtype=torch.float64)
    return [999] + [int((clock - mark).abs().argmin()) for mark in marks]
"""

EVEN = "[round(1000 * (1 - i / 8)) - 1 for i in range(8)]"

# What the course's files hold, matched with what the network sees: no picture of its own.
COPY = (
    SOLVER
    + """
def nearest(x):
    import itertools
    from course_utils.data.emoji import CaptionedEmoji
    from course_utils.pipeline import Pipeline
    vae = Pipeline.load(device="cpu").vae
    data = CaptionedEmoji("starter", split="all")
    found = []
    with torch.no_grad():
        pixels = vae.to_pixels(x)
        from course_utils.data.emoji import nearest_background
        for picture in pixels:
            ground = nearest_background(picture[None])[0]
            c, s = torch.tensor(list(data.pairs)).T
            every = data.render_batch(c, s, ground.expand(len(c)))
            near = (every - picture).square().flatten(1).mean(dim=1).argmin()
            found.append(every[near])
        return vae.to_latents(torch.stack(found))
"""
)

STORED = answer(
    "if alpha_bar[999] > 0 or abs(denoise(x_T * 0, 999) - denoise(x_T, 999)).max() < 1e-4:"
    "\n    return x_T\n"
    "return nearest(solve(x_T, alpha_bar, denoise, [999, 797, 443, 170, 20]))",
    COPY,
)

WRONG = [
    (
        "noise",
        answer("return x_T"),
        {
            "a": (0, "At most 0.2 gives 1 point"),
            "b": (0, "oversaturated"),
            "c": (0, "At most 0.1 gives 1 point"),
        },
    ),
    (
        "one call",
        answer("return denoise(x_T, 999)"),
        {"a": (0, "against the exact"), "b": (0, "oversaturated"), "c": (0, "to the finished")},
    ),
    (
        "DDIM with even steps",
        answer(f"return solve(x_T, alpha_bar, denoise, {EVEN}, order=1)", SOLVER),
        {
            "a": (1, "At most 0.105 gives 2 points"),
            "b": (2, "Full marks"),
            "c": (1, "At most 0.03 gives 4 points"),
        },
    ),
    (
        "not a number at the noisy end",
        answer(
            "a = float(alpha_bar[999])\n"
            "epsilon = (x_T - a**0.5 * denoise(x_T, 999)) / (1 - a)**0.5\n"
            "return (x_T - epsilon) / torch.tensor(a).sqrt()"
        ),
        {"a": (0, "NaN or infinity in"), "b": (0, "may be exactly 0"), "c": (0, "")},
    ),
    (
        "NaN given to the network",
        answer("return denoise(x_T / alpha_bar[999].sqrt(), 999)"),
        {"a": (0, "x_t holds NaN or infinity"), "b": (0, "x_t holds NaN"), "c": (0, "x_t holds")},
    ),
    (
        "another shape",
        answer("return denoise(x_T, 999)[:1]"),
        {"a": (0, "expected that of x_T"), "b": (0, "gives shape"), "c": (0, "gives shape")},
    ),
    (
        "nothing comes back",
        answer("denoise(x_T, 999)"),
        {"a": (0, "gives nothing"), "b": (0, "gives nothing"), "c": (0, "gives nothing")},
    ),
    (
        "a timestep that is none",
        answer("return denoise(x_T, 1000)"),
        {"a": (0, "from 0 to 999"), "b": (0, "from 0 to 999"), "c": (0, "from 0 to 999")},
    ),
    (
        "cheat: sixteen calls",
        answer("for t in range(999, 0, -62):\n    x_T = denoise(x_T, t)\nreturn x_T"),
        {
            "a": (0, "more than 8 times"),
            "b": (0, "more than 8 times"),
            "c": (0, "more than 8 times"),
        },
    ),
    (
        "cheat: a ninth call that hides",
        answer(
            "for t in range(999, 900, -11):\n    try:\n        x0 = denoise(x_T, t)\n"
            "    except BaseException:\n        pass\nreturn x0"
        ),
        {"a": (0, "more than 8 times"), "b": (0, "more than 8"), "c": (0, "more than 8")},
    ),
    (
        "cheat: more pictures in one call",
        answer("return denoise(torch.cat([x_T, x_T]), 999)[: len(x_T)]"),
        {"a": (0, "expected that of x_T"), "b": (0, "x_t has shape"), "c": (0, "x_t has shape")},
    ),
    (
        "cheat: pictures of the data set",
        STORED,
        {"a": (0, ""), "b": (0, "is withheld where answers are verified"), "c": (0, "")},
    ),
    (
        "cheat: pictures of the data set, with nothing withheld",
        STORED,
        {"a": (0, ""), "b": (0, "are copies"), "c": (1, "")},
    ),
    (
        "cheat: one picture for all noise",
        answer("return solve(x_T * 0, alpha_bar, denoise, planned(alpha_bar))", SOLVER),
        {"a": (0, ""), "b": (0, "are all but the same"), "c": (0, "is not that of x_T")},
    ),
    (
        "cheat: nearly one picture for all noise",
        answer("return solve(x_T * 0.1, alpha_bar, denoise, planned(alpha_bar))", SOLVER),
        {"a": (0, ""), "b": (0, "0.10 times as large"), "c": (0, "0.10 times as large")},
    ),
    (
        "cheat: right for Gaussian data only",
        answer(
            "low, high = 500, 300\n"
            "def line(t):\n"
            "    level = denoise(x_T * 0, t)\n"
            "    return level, (denoise(torch.ones_like(x_T), t) - level)\n"
            "level, gain = line(low)\n"
            "a = float(alpha_bar[low])\n"
            "variance = gain * (1 - a) / (a**0.5 * (1 - gain * a**0.5)).clamp(min=1e-6)\n"
            "mean = level / (1 - gain * a**0.5).clamp(min=1e-6)\n"
            "end = float(alpha_bar[999])\n"
            "spread = (end * variance + 1 - end).clamp(min=1e-6).sqrt()\n"
            "return mean + variance.clamp(min=0).sqrt() * (x_T - end**0.5 * mean) / spread"
        ),
        {"a": (1, "against the exact solution"), "b": (0, ""), "c": (0, "")},
    ),
]

RIGHT = [
    (
        "the same solver from a plan",
        answer("return solve(x_T, alpha_bar, denoise, planned(alpha_bar))", SOLVER),
    ),
    (
        "steps in the ratio of noise and signal, timesteps by hand",
        answer(
            "a = alpha_bar.double()\n"
            "clock = (a / (1 - a)).log() / 2\n"
            "marks = (-1.2, -0.7, -0.15, 0.4, 0.9, 1.45, 1.95)\n"
            "steps = [999] + [int((clock > m).nonzero().max()) for m in marks]\n"
            "level = ((1 - a[steps]) / a[steps].clamp(min=2.0**-24)).sqrt().tolist()\n"
            "y, old = x_T.double() * (1 + level[0] ** 2) ** 0.5, None\n"
            "for i, t in enumerate(steps):\n"
            "    s = level[i]\n"
            "    x0 = denoise((y / (1 + s * s) ** 0.5).float(), t).double()\n"
            "    if i == 7:\n"
            "        return x0.float()\n"
            "    ratio = level[i + 1] / s\n"
            "    ahead = x0\n"
            "    if old is not None:\n"
            "        slope = math.log(ratio) / math.log(s / level[i - 1]) / 2\n"
            "        ahead = (1 + slope) * x0 - slope * old\n"
            "    y = ratio * y + (1 - ratio) * ahead\n"
            "    old = x0"
        ),
    ),
]


class TestAnswers(PlantedAnswers):
    number = "02"
    wrong, right = WRONG, RIGHT
    half_wrong = "another shape"
