import pytest

from emo.training.recipe import Recipe, parse_schedule


@pytest.mark.parametrize("text", ["", "80", "80x", "16x3", "80x0", "80x3;96x2"])
def test_a_schedule_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="as in 80x14,112x2"):
        parse_schedule(text)


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    recipe = Recipe("emo_1m", parse_schedule("80x14,112x2"), learning_rate=1.0, warmup=0.1)
    assert recipe.sides() == [80] * 14 + [112] * 2
    assert [recipe.rate(progress) for progress in (0.0, 0.05, 0.1)] == pytest.approx([0.0, 0.5, 1.0])
    assert recipe.rate(0.55) == pytest.approx(0.5)
    assert recipe.rate(1.0) == pytest.approx(0.0)
