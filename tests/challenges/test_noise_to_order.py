"""Answers to challenge 01, wrong and right."""

from __future__ import annotations

from planted import PlantedAnswers

NEAREST = """
def timesteps_for(alpha_bar, num_steps):
    return torch.linspace(len(alpha_bar) - 1, 0, num_steps).round().long()
"""
ONLY_THE_LAST = """
def rescale(betas, terminal_snr):
    return torch.cat([betas[:-1], torch.ones(1, dtype=torch.float64)])
"""


def timesteps(body: str) -> dict[str, str]:
    """Timesteps that are wrong, and rescaling that is, so that the rest does not pass."""
    source = f"def timesteps_for(alpha_bar, num_steps):\n    T = len(alpha_bar)\n    {body}\n"
    return {"rescale": ONLY_THE_LAST, "timesteps-for": source}


def betas(body: str) -> dict[str, str]:
    return {"betas-for": f"def betas_for(snr):\n    {body}\n"}


RATIO = "a = snr / (1 + snr); before = torch.cat([torch.ones_like(a[:1]), a[:-1]]); "

WRONG = [
    (
        "noise shares as betas",
        betas("return 1 / (1 + snr)"),
        {"a": (0, "At most 0.5 gives 1 point"), "b": (0, "largest error")},
    ),
    (
        "nothing before the first row",
        betas("a = snr / (1 + snr); return 1 - a[1:] / a[:-1]"),
        {"a": (0, "one beta a row"), "b": (0, "one beta a row")},
    ),
    (
        "the last row before the first",
        betas("a = snr / (1 + snr); return 1 - a / a.roll(1)"),
        {"a": (0, "a share of the variance"), "b": (0, "")},
    ),
    (
        "a first beta of zero",
        betas(RATIO + "b = 1 - a / before; b[0] = 0; return b"),
        {"a": (0, "exactly 0"), "b": (0, "")},
    ),
    (
        "rounded to float32, and timesteps even in t",
        betas("snr = snr.float(); " + RATIO + "return 1 - a / before") | {"timesteps-for": NEAREST},
        {
            "a": (2, "At most 1e-05 gives 3 points"),
            "b": (0, "rounding"),
            "d": (0, "At most 1.8 gives 1 point"),
        },
    ),
    (
        "1 minus a ratio, and an end that is always 0",
        betas(RATIO + "return 1 - a / before")
        | {
            "rescale": """
def rescale(betas, terminal_snr):
    root = torch.cumprod(1 - betas, dim=0).sqrt()
    a = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return torch.cat([betas[:1], 1 - a[1:] / a[:-1]])
""",
            "timesteps-for": NEAREST,
        },
        {"a": (3, "Full marks"), "b": (1, "At most 1e-09 gives 2"), "c": (0, "in row")},
    ),
    (
        "cheat: no number, which no comparison refuses",
        betas("return snr * math.nan"),
        {"a": (0, "gives nan in row 0"), "b": (0, "gives nan in row 0")},
    ),
    (
        "alpha-bar shifted instead of its root, timesteps twice",
        timesteps(
            "t = torch.linspace(T - 1, 0, num_steps).long() // 30 * 30; t[0] = T - 1; return t"
        )
        | {
            "rescale": """
def rescale(betas, terminal_snr):
    a = torch.cumprod(1 - betas, dim=0)
    end = terminal_snr / (1 + terminal_snr)
    a = end + (a - a[-1]) * (a[0] - end) / (a[0] - a[-1])
    return torch.cat([betas[:1], 1 - a[1:] / a[:-1]])
"""
        },
        {"c": (0, "At most 0.01 gives 1 point"), "d": (0, "a timestep twice")},
    ),
    (
        "only the last beta changed, rising timesteps",
        timesteps("return torch.linspace(0, T - 1, num_steps).long()"),
        {"c": (0, "largest error"), "d": (0, "rise somewhere")},
    ),
    (
        "timesteps that miss the noisiest row",
        timesteps("return torch.arange(num_steps).flip(0) * (T // num_steps)"),
        {"d": (0, "the noisiest")},
    ),
    (
        "timesteps with a fraction",
        timesteps("return torch.linspace(T - 1, 0, num_steps)"),
        {"d": (0, "timesteps are int64")},
    ),
    (
        "cheat: betas learned by heart",
        betas("return torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)"),
        {"a": (0, "one beta a row"), "b": (0, "one beta a row")},
    ),
    (
        "cheat: changes the order instead of meeting it",
        betas("snr.fill_(1e-4); return torch.full_like(snr, 0.5).cumprod(0)"),
        {"a": (0, "largest error"), "b": (0, "largest error")},
    ),
    (
        "cheat: changes the measurement in its own process, with nothing withheld",
        {
            "betas-for": """
from course_utils.challenges.noise_to_order import ask as challenge_01
challenge_01.log10_snr = lambda betas: betas * 0
challenge_01.WORST = 0.0
def betas_for(snr):
    return torch.full_like(snr, 0.01)
"""
        },
        {"a": (0, "largest error"), "b": (0, "largest error")},
    ),
    (
        "cheat: an object that says it equals everything",
        {
            "betas-for": """
class Equal(torch.Tensor):
    def __eq__(self, other): return True
    def __sub__(self, other): return torch.zeros(())
def betas_for(snr):
    return snr.as_subclass(Equal)
"""
        },
        {"a": (0, "a value is a Equal"), "b": (0, "a value is a Equal")},
    ),
]

RIGHT = [
    (
        "logarithms, shares of two ends, dynamic programming",
        {
            "betas-for": """
def betas_for(snr):
    log_alpha_bar = torch.nn.functional.logsigmoid(snr.log())
    steps = torch.diff(log_alpha_bar, prepend=torch.zeros(1, dtype=torch.float64))
    return -torch.expm1(steps)
""",
            "rescale": """
def rescale(betas, terminal_snr):
    weight = (torch.log1p(-betas).cumsum(0) / 2).exp()
    end = (terminal_snr / (1 + terminal_snr)) ** 0.5
    share = (weight - weight[-1]) / (weight[0] - weight[-1])
    new = share * weight[0] + (1 - share) * end
    return 1 - (new / torch.cat([torch.ones(1, dtype=torch.float64), new[:-1]])) ** 2
""",
            "timesteps-for": """
def timesteps_for(alpha_bar, num_steps):
    log_snr = torch.logit(alpha_bar)
    gaps = log_snr[:, None] - log_snr[None, :]  # from row i on to row j
    gaps[gaps <= 0] = math.inf
    best, came = torch.full((len(gaps),), math.inf, dtype=torch.float64), []
    best[0] = 0
    for _ in range(num_steps - 1):
        best, before = torch.maximum(best[:, None], gaps).min(dim=0)
        came.append(before)
    path = [len(gaps) - 1]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return torch.tensor(path)
""",
        },
    ),
    (
        "one row at a time, and a search among all gaps",
        {
            "betas-for": """
def betas_for(snr):
    betas, before = [], math.inf
    for now in snr.tolist():
        drop = 1.0 if before == math.inf else (before - now) / before
        betas.append(drop / (1.0 + now))
        before = now
    return torch.tensor(betas, dtype=torch.float64)
""",
            "timesteps-for": """
import bisect

def timesteps_for(alpha_bar, num_steps):
    depth = [-math.log(a / (1 - a)) for a in alpha_bar.tolist()]
    last = len(depth) - 1
    sizes = sorted({b - a for i, a in enumerate(depth) for b in depth[i + 1:]})
    def choose(gap):
        rows = [0]
        while rows[-1] < last:
            row = bisect.bisect_right(depth, depth[rows[-1]] + gap + 1e-9) - 1
            if row == rows[-1] or len(rows) == num_steps:
                return None
            rows.append(row)
        return rows
    rows = choose(sizes[bisect.bisect_left(sizes, True, key=lambda gap: choose(gap) is not None)])
    rows += [t for t in range(last) if t not in rows][: num_steps - len(rows)]
    return torch.tensor(sorted(rows)[::-1])
""",
        },
    ),
]


class TestAnswers(PlantedAnswers):
    number = "01"
    wrong, right = WRONG, RIGHT
    half_wrong = "nothing before the first row"
