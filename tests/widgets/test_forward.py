"""View 2, forward noising: what it computes."""

from __future__ import annotations

import gc
import math

import pytest
import torch

from course_utils.widgets import ForwardNoising
from course_utils.widgets.forward import SCHEDULES, curve, example_pictures, noised, snr_words


@pytest.mark.parametrize("name", SCHEDULES)
def test_noised_is_the_formula(name: str) -> None:
    schedule = SCHEDULES[name][1]()
    x0, epsilon = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert noised(x0, epsilon, schedule, 0).x_t is x0
    for t in (1, 500, 1000):
        now = noised(x0, epsilon, schedule, t)
        assert now.alpha_bar == float(schedule.alpha_bar[t - 1])
        torch.testing.assert_close(now.x_t, now.signal * x0 + now.noise * epsilon)
        assert math.isclose(now.signal**2 + now.noise**2, 1)
    with pytest.raises(ValueError, match="t is 1001"):
        noised(x0, epsilon, schedule, 1001)


def test_the_models_schedule_ends_in_pure_noise() -> None:
    from course_utils.widgets._course_model import default_pipeline

    ours, models = SCHEDULES["zero_snr"][1](), default_pipeline().schedule
    torch.testing.assert_close(ours.alpha_bar, models.alpha_bar, rtol=1e-5, atol=1e-7)
    assert ours.alpha_bar[-1] == 0 == models.alpha_bar[-1]


def test_snr_words() -> None:
    assert snr_words(0) == "0 (pure noise)"
    assert snr_words(math.inf) == "infinite (no noise)"
    assert snr_words(1.0) == "1 (+0 dB)"
    assert snr_words(4.04e-5) == "4e−5 (−44 dB)" or snr_words(4.04e-5) == "4.0e−5 (−44 dB)"


def test_a_curve_has_few_points_and_both_ends() -> None:
    points = curve(SCHEDULES["zero_snr"][1]().snr())
    assert len(points["x"]) == len(points["y"]) == 101
    assert points["x"][0] == 1 and points["x"][-1] == 1000
    assert all(math.isfinite(y) and y > 0 for y in points["y"])


def test_example_pictures() -> None:
    examples = example_pictures()
    assert "cat face" in examples and len(examples) >= 5
    assert all(picture.shape == (3, 64, 64) for picture in examples.values())


def test_a_picture_of_ones_own() -> None:
    picture = torch.zeros(3, 32, 48)
    view = ForwardNoising(picture, schedule="cosine", t=0)
    assert view.part("snr")["text"] == "infinite (no noise)"
    assert view.part("noisy")["png"] == view.part("clean")["png"]
    view.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "steep"}, "schedule is 'steep'; expected one of linear"),
        ({"t": 1001}, "t is 1001"),
        ({"seed": -1}, "seed is -1"),
        ({"picture": torch.zeros(64, 64)}, "picture has shape"),
    ],
)
def test_bad_arguments(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ForwardNoising(**options)


def test_nothing_grows() -> None:
    import tracemalloc

    view = ForwardNoising(torch.zeros(3, 64, 64))

    def use(times: int) -> None:
        for k in range(times):
            view._moved("t", (k * 37) % 1001)
            if k % 20 == 0:
                view._moved("again", k)
                view._moved("schedule", list(SCHEDULES)[k % 4])

    use(40)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    use(200)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    view.close()
    assert view.error is None
    assert grown < 200 * 1024, f"{grown / 1024:.0f} KiB more after 200 moves; a picture has 12"
