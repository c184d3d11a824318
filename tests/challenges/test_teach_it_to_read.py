"""Answers to challenge 03, wrong and right."""

from __future__ import annotations

from planted import PlantedAnswers

HEAD = "def contrastive_loss(image_features, text_features, log_temperature):\n"
TRAIN = "def train(batch, num_batches, image_width, text_width, dim):\n"
TABLE = """
    images = F.normalize(image_features, dim=-1)
    texts = F.normalize(text_features, dim=-1)
    logits = images @ texts.T / log_temperature.exp()
    target = torch.arange(len(logits))
"""


def loss(body: str) -> dict[str, str]:
    return {"contrastive-loss": HEAD + body}


def train(body: str) -> dict[str, str]:
    return {"train": TRAIN + body}


def fitted(temperature: float = 0.2) -> str:
    """A training that works, at a temperature that stays."""
    return f"""
    torch.manual_seed(0)
    P = (torch.randn(image_width, dim) / image_width**0.5).requires_grad_()
    Q = (torch.randn(text_width, dim) / text_width**0.5).requires_grad_()
    log_temperature = torch.tensor(math.log({temperature}))
    optimizer = torch.optim.AdamW([P, Q], lr=1e-2, weight_decay=1.0)
    for step in range(num_batches):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * step / num_batches))
        pairs = batch()
        value = contrastive_loss(pairs["images"] @ P, pairs["words"] @ Q, log_temperature)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return P.detach(), Q.detach()
"""


LOSS = "(F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2"
PAIR = "torch.randn(image_width, dim), torch.randn(text_width, dim)"

ELSEWHERE = train(
    "    from course_utils.challenges.teach_it_to_read.world import practice\n"
    "    there = practice(0).arguments()['batch']\n"
    "    pairs = [there() for _ in range(20)]\n"
    "    images, words = (torch.cat([p[k] for p in pairs]) for k in ('images', 'words'))\n"
    "    Q = torch.randn(text_width, dim)\n"
    "    return torch.linalg.pinv(images) @ words @ Q, Q"
)

WRONG = [
    (
        "pictures choose; cheat: constant vectors, so that all are equally near",
        loss(TABLE + "    return F.cross_entropy(logits, target)")
        | train("    return torch.zeros(image_width, dim), torch.zeros(text_width, dim)"),
        {
            "a": (0, "pictures that choose among texts"),
            "b": (0, "Texts also choose"),
            "c": (0, "guessing"),
        },
    ),
    (
        "texts choose; a training that diverges",
        loss(TABLE + "    return F.cross_entropy(logits.T, target)")
        | train(
            "    return torch.full((image_width, dim), torch.nan), torch.ones(text_width, dim)"
        ),
        {
            "a": (0, "texts that choose among pictures"),
            "b": (0, "Pictures also choose"),
            "c": (0, "has diverged"),
        },
    ),
    (
        "the sum of both directions; cheat: huge numbers",
        loss(TABLE + f"    return 2 * {LOSS}")
        | train("    return 1e30 * torch.ones(image_width, dim), torch.ones(text_width, dim)"),
        {
            "a": (0, "twice the loss"),
            "b": (0, "twice the loss"),
            "c": (0, "beyond a million"),
        },
    ),
    (
        "vectors of any length; cheat: learn the first batch by heart",
        loss(
            "    logits = image_features @ text_features.T / log_temperature.exp()\n"
            f"    target = torch.arange(len(logits))\n    return {LOSS}"
        )
        | train(
            "    pairs = batch()\n"
            "    places = torch.eye(128, dim)\n"
            "    return tuple(torch.linalg.pinv(pairs[k]) @ places for k in ('images', 'words'))"
        ),
        {
            "a": (0, "Scale each one to length 1"),
            "b": (0, "Scale each one to length 1"),
            "c": (0, "At least 0.5 gives 1 point"),
        },
    ),
    (
        "divided by the logarithm of the temperature; training not written",
        loss(TABLE.replace("/ log_temperature.exp()", "/ log_temperature") + f"    return {LOSS}")
        | train("    raise NotImplementedError"),
        {
            "a": (0, "take its exp before you divide"),
            "b": (0, "Take its exp first"),
            "c": (0, "not written yet"),
        },
    ),
    (
        "scaled along the batch; integers as projections",
        loss(
            "    images = F.normalize(image_features, dim=0)\n"
            "    texts = F.normalize(text_features, dim=0)\n"
            "    logits = images @ texts.T / log_temperature.exp()\n"
            f"    target = torch.arange(len(logits))\n    return {LOSS}"
        )
        | train(
            "    return torch.ones(image_width, dim).long(), torch.ones(text_width, dim).long()"
        ),
        {
            "a": (0, "scaled along the batch"),
            "b": (0, "scaled along the batch"),
            "c": (0, "expected float32"),
        },
    ),
    (
        "multiplied by the temperature; one projection instead of two",
        loss(TABLE + f"    logits = logits * (2 * log_temperature).exp()\n    return {LOSS}")
        | train("    return torch.randn(image_width, dim)"),
        {"a": (0, "Divide by it"), "b": (0, "Divide by it"), "c": (0, "gives no pair")},
    ),
    (
        "exp as the formula says; projections turned round",
        {
            "contrastive-loss": HEAD
            + TABLE
            + "    e = logits.exp()\n"
            + "    d = e.diagonal()\n"
            + "    return -((d / e.sum(0)).log() + (d / e.sum(1)).log()).mean() / 2"
        }
        | train("    return torch.randn(dim, image_width), torch.randn(dim, text_width)"),
        {"a": (2, "Full marks"), "b": (0, "infinite in float32"), "c": (0, "expected (768, 64)")},
    ),
    (
        "a temperature that is clipped as CLIP does it; nothing comes back",
        loss(
            TABLE.replace("log_temperature.exp()", "log_temperature.exp().clamp(min=0.01)")
            + f"    return {LOSS}"
        )
        | train("    pass"),
        {"a": (2, "Full marks"), "b": (0, "At most 0.01 gives 1 point"), "c": (0, "no pair")},
    ),
    (
        "a loss for each pair; cheat: the refusal of one batch more is swallowed",
        loss(TABLE + "    return F.cross_entropy(logits, target, reduction='none')")
        | train(
            "    try:\n        [batch() for _ in range(num_batches + 1)]\n"
            f"    except Exception:\n        pass\n    return {PAIR}"
        ),
        {"a": (0, "expected one number"), "b": (0, "expected one"), "c": (0, "more than 120")},
    ),
    (
        "a temperature that makes the softmax too sure",
        train(fitted(temperature=0.003)),
        {"c": (1, "gives")},
    ),
    (
        "cheat: train in another world, from the course's own files",
        ELSEWHERE,
        {"c": (0, "is withheld where answers are verified")},
    ),
    (
        "cheat: train in another world, with nothing withheld",
        ELSEWHERE,
        {"c": (0, "guessing")},
    ),
]

LOGSUMEXP = {
    "contrastive-loss": HEAD
    + """
    images = image_features.double() / image_features.double().norm(dim=1, keepdim=True)
    texts = text_features.double() / text_features.double().norm(dim=1, keepdim=True)
    logits = torch.einsum("id,jd->ij", images, texts) * torch.exp(-log_temperature.double())
    both = torch.logsumexp(logits, dim=0) + torch.logsumexp(logits, dim=1)
    return (both / 2 - logits.diagonal()).mean()
"""
}
BY_HAND = {
    "contrastive-loss": HEAD
    + TABLE
    + """
    total = 0
    for table in (logits, logits.T):
        table = table - table.max(dim=1, keepdim=True).values.detach()
        total = total + table.exp().sum(dim=1).log().mean() - table.diagonal().mean()
    return total / 2
"""
}

RIGHT = [
    ("log-sum-exp in float64, a fixed temperature", LOGSUMEXP | train(fitted(temperature=0.15))),
    ("softmax by hand, another temperature", BY_HAND | train(fitted(temperature=0.3))),
]


class TestAnswers(PlantedAnswers):
    number = "03"
    wrong, right = WRONG, RIGHT
    half_wrong = "scaled along the batch; integers as projections"
