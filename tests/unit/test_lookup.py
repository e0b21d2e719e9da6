from mlx_gemma4.generation.lookup import Held, Lookup


def held(ids: list[Held]) -> Lookup:
    lookup = Lookup()
    lookup.hold(ids)
    return lookup


def test_what_followed_the_same_three_ids_is_found() -> None:
    lookup = held([1, 2, 3, 4, 5, 6, 9, 1, 2, 3])
    assert lookup.after([], 4)[0] == [4, 5, 6, 9]
    assert lookup.after([4], 2)[0] == [5, 6]
    assert lookup.after([7], 4)[0] == []


def test_two_equal_ids_are_too_few() -> None:
    assert held([1, 2, 3, 4, 9, 2, 3]).after([], 4)[0] == []


def test_of_several_places_the_one_with_most_equal_ids_before_it_counts() -> None:
    first, other = [7, 8, 1, 2, 3, 50], [9, 9, 1, 2, 3, 60]
    assert held([*first, *other, 8, 1, 2, 3]).after([], 1)[0] == [50]
    assert held([*first, *other, 9, 1, 2, 3]).after([], 1)[0] == [60]
    assert held([*first, *other, 4, 1, 2, 3]).after([], 1)[0] == [60]  # else the latest


def test_a_repetition_goes_on_past_the_end() -> None:
    assert held([5, 6, 7, 5, 6, 7]).after([], 8)[0] == [5, 6, 7, 5, 6, 7, 5, 6]
    assert held([5, 6, 7, 8, 5, 6]).after([7, 8], 6)[0] == [5, 6, 7, 8, 5, 6]


def test_rows_of_pictures_and_sound_are_neither_matched_nor_proposed() -> None:
    picture = ["picture"] * 4
    assert held([*picture, 1, 2, *picture]).after([], 3)[0] == []
    assert held([1, 2, 3, 4, *picture, 1, 2, 3]).after([], 3)[0] == [4]


def test_ids_that_were_taken_back_are_forgotten() -> None:
    lookup = held([1, 2, 3, 4, 5])
    lookup.hold([1, 2, 8, 9, 1, 2])
    assert lookup.after([3], 2)[0] == []
    lookup.add([8])
    assert lookup.after([], 2)[0] == [9, 1]


def test_how_many_ids_were_the_same_is_known() -> None:
    assert held([*range(20), 99, *range(1, 13)]).after([], 1) == ([13], 12)
    assert held([*range(20), 99, 5, 6, 7]).after([], 1) == ([8], 3)


def test_a_repetition_goes_on_behind_what_differs() -> None:
    text: list[Held] = [*range(40, 90)]
    for other, follows in (
        ([7], [61, 62, 63]),  # another id in the place of 60
        ([64], [65, 66, 67]),  # four were left out
        ([7, 62], [63, 64, 65]),
    ):
        lookup = held([*text, 1, 2, *range(40, 60)])
        assert lookup.after([], 1)[0] == [60]
        lookup.add(other[:-1])
        assert lookup.after(other[-1:], 3) == (follows, 0)
        lookup.add(other[-1:])
        assert lookup.after([], 3) == (follows, 0)


def test_a_repetition_that_differs_for_long_is_followed_no_more() -> None:
    lookup = held([*range(40, 90), 1, 2, *range(40, 60)])
    lookup.after([], 1)
    lookup.add(range(500, 530))
    assert lookup.after([], 3) == ([], 0)
    lookup.after([], 1)
    lookup.hold([*range(40, 90), 1, 2, *range(40, 60), 7])  # another reply
    assert lookup.after([], 3) == ([], 0)


def test_behind_a_few_equal_ids_nothing_is_taken_for_a_repetition() -> None:
    lookup = held([*range(40, 90), 1, 2, *range(50, 60)])
    assert lookup.after([], 1)[0] == [60]
    lookup.add([7])
    assert lookup.after([], 3) == ([], 0)
