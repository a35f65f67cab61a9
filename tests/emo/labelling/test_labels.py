from emo.evaluation.answers import Answer
from emo.labelling.labels import TRUE, Annotator, Known, Label, Rules, decide

RULES = Rules(threshold=0.4)
HERE, THERE = [0.0, 0.0, 50.0, 50.0], [100.0, 0.0, 160.0, 80.0]
CAT, DOG = Annotator("first", ("cat", "dog")), Annotator("second", ("dog", "bird"))


def said(*rows: tuple[int, float, list[float]]) -> Answer:
    return Answer([label for label, _, _ in rows], [score for _, score, _ in rows], [box for _, _, box in rows])


def short(labels: list[Label]) -> list[tuple[str, float, str, bool]]:
    return [(label.name, round(label.score, 3), label.source, label.is_ignored) for label in labels]


def both(first: Answer, second: Answer, rules: Rules = RULES, known: Known | None = None) -> list[Label]:
    return decide([CAT, DOG], [first, second], ["cat", "dog", "bird"], rules, known or Known())


def test_what_both_are_sure_of_is_an_object_and_what_one_doubts_a_region() -> None:
    found = both(said((1, 0.7, HERE), (1, 0.6, THERE)), said((0, 0.9, HERE)))
    assert short(found) == [("dog", 0.8, "first+second", False), ("dog", 0.3, "first", True)]


def test_one_of_two_that_is_very_sure_is_believed_and_one_that_is_not_is_not() -> None:
    found = both(said((1, 0.9, HERE)), said((0, 0.3, THERE)))
    assert short(found) == [("dog", 0.45, "first", False)]


def test_a_class_that_only_one_model_knows_is_its_own_matter() -> None:
    found = both(said((0, 0.5, HERE)), said((1, 0.25, THERE)))
    assert short(found) == [("cat", 0.5, "first", False), ("bird", 0.25, "second", True)]


def test_models_that_disagree_about_what_it_is_leave_a_region() -> None:
    found = decide([CAT, CAT], [said((0, 0.6, HERE)), said((1, 0.6, HERE))], ["cat", "dog"], RULES, Known())
    assert short(found) == [("cat", 0.3, "first", True)]


def test_an_object_has_one_name_the_better_one() -> None:
    found = decide([CAT], [said((1, 0.8, HERE), (0, 0.6, HERE), (0, 0.3, HERE))], ["cat", "dog"], RULES, Known())
    assert short(found) == [("dog", 0.8, "first", False)]


def test_each_class_has_its_threshold() -> None:
    rules = Rules(0.4, {"cat": 0.7}, ignore_above=0.35)
    found = decide([CAT], [said((0, 0.6, HERE), (1, 0.6, THERE), (1, 0.3, HERE))], ["cat", "dog"], rules, Known())
    assert short(found) == [("dog", 0.6, "first", False), ("cat", 0.6, "first", True)]


def test_true_boxes_win_over_what_models_say_of_their_classes_and_places() -> None:
    box = (100.0, 0.0, 160.0, 80.0)
    true = Known((Label("cat", box, 1.0, TRUE), Label("horse", box, 1.0, TRUE)), frozenset({"cat", "horse"}))
    far = [300.0, 300.0, 350.0, 350.0]
    found = both(
        said((0, 0.9, HERE), (1, 0.8, [101.0, 0.0, 160.0, 80.0]), (1, 0.9, far)), said((0, 0.9, far)), known=true
    )
    assert short(found) == [("cat", 1.0, TRUE, False), ("dog", 0.9, "first+second", False)]


def test_classes_that_are_not_wanted_are_left_out_wherever_they_come_from() -> None:
    true = Known((Label("cat", (100.0, 0.0, 160.0, 80.0), 1.0, TRUE),), frozenset({"cat"}))
    found = decide([DOG], [said((0, 0.9, HERE), (1, 0.9, HERE))], ["bird"], RULES, true)
    assert short(found) == [("bird", 0.9, "second", False)]
