import random

import pytest

from mlx_gemma4.capture.sentences import LONGEST, Sentences, spoken

TEXT = """# The receipt

The **total** is $19.56, see https://shop.example/a?b=1. Dr. Smith said, e.g. yes!

```python
print("not. this.")
```

| item | price |
|------|-------|
| tea. | 2.50  |

- one `item` more
- [x] snake_case stays, _this_ not

1. First thing. Second [link](http://a.b/c.d)
***
The end"""
SPOKEN = [
    "The receipt",
    "The total is $19.56, see.",
    "Dr. Smith said, e.g. yes!",
    "one item more",
    "snake_case stays, this not",
    "First thing.",
    "Second link",
    "The end",
]


def said(text: str, sizes: list[int]) -> list[str]:
    """What is spoken of a text that comes in pieces of these sizes, over and over."""
    sentences, given, at = Sentences(), [], 0
    while at < len(text):
        size = sizes[0]
        sizes = [*sizes[1:], size]
        given += sentences.add(text[at : at + size])
        at += size
    return given + sentences.finish()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1000])
def test_code_tables_addresses_and_markup_are_not_spoken(size: int) -> None:
    assert said(TEXT, [size]) == SPOKEN


def test_how_the_text_is_cut_into_pieces_changes_nothing() -> None:
    draw = random.Random(1)
    for _ in range(200):
        assert said(TEXT, [draw.randint(1, 12) for _ in range(9)]) == SPOKEN


def test_a_sentence_is_given_as_soon_as_it_is_whole() -> None:
    sentences = Sentences()
    assert sentences.add("It is red.") == []  # 19.56 is no end of a sentence
    assert sentences.add(" And") == ["It is red."]
    assert sentences.finish() == ["And"]


def test_code_that_is_not_closed_is_not_spoken() -> None:
    assert said("Look:\n```\nrm -rf. all.\nmore.", [4]) == ["Look:"]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.  Run:\n    ```sh\n    rm -rf. all.\n    ```\n    Then go.", ["Run:", "Then go."]),
        ("1. ```sh\n   rm. it.\n   ```\nDone.", ["Done."]),
        ("> ~~~\n> rm. it.\n> ~~~\nDone.", ["Done."]),
        ("````\n```\nrm. it.\n```\nall. more.\n````\nDone.", ["Done."]),
        ("~~~\n```\nrm. it.\n~~~\nDone.", ["Done."]),
        ("```js``` is code.\nSo it is.", ["js is code.", "So it is."]),
    ],
)
def test_code_is_known_by_its_fences_wherever_they_are(
    text: str, expected: list[str], size: int
) -> None:
    assert said(text, [size]) == expected


def test_a_code_block_of_the_last_answer_does_not_silence_the_next() -> None:
    sentences = Sentences()
    sentences.add("```\nx")
    sentences.finish()
    assert sentences.add("Yes. ") == ["Yes."]


def test_a_very_long_sentence_is_cut_at_a_comma_and_nothing_is_lost() -> None:
    text = ", ".join(f"word{n} and more" for n in range(60)) + "."
    parts = said(text, [7])
    assert " ".join(parts) == text
    assert all(len(part) <= LONGEST and part[-1] in ",." for part in parts)


def test_text_without_spaces_is_cut_too() -> None:
    assert "".join(said("x" * 1000, [50])) == "x" * 1000


@pytest.mark.parametrize("size", [1, 50, 1000])
def test_a_very_long_address_is_not_spoken(size: int) -> None:
    address = "https://shop.example/" + "a/b?c=d&" * 60
    assert " ".join(said(f"See {address} for more. Yes.", [size])) == "See for more. Yes."
    assert not any("/" in part for part in said(f"See [it]({address}) and {address}", [size]))


@pytest.mark.parametrize("size", [1, 50, 1000])
@pytest.mark.parametrize("address", ["https://example.com/a", "www.example.com/" + "a/" * 200])
def test_what_follows_an_address_without_a_space_is_spoken(size: int, address: str) -> None:
    text = "，" + "很长的句子" * 108 + "。"
    spoken_of_it = "".join(said(f"网址是{address}{text}下一句。", [size])).replace(" ", "")
    assert spoken_of_it == f"网址是{text}下一句。"


def test_chinese_sentences_end_without_spaces() -> None:
    assert said("总计是十九元。谢谢！", [1]) == ["总计是十九元。", "谢谢！"]


@pytest.mark.parametrize("text", ["", "***", "---", "https://a.b/c", "()", "![](x.png)", "`  `"])
def test_what_holds_no_word_is_not_spoken(text: str) -> None:
    assert spoken(text) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 * 3 is 6, and 2*3 too", "2 3 is 6, and 2 3 too"),
        ("**bold *and* more**", "bold and more"),
        ("> quoted", "quoted"),
        ("See <https://a.b>.", "See."),
        ("![a cat](cat.png) sits", "a cat sits"),
    ],
)
def test_markup_leaves_its_words(text: str, expected: str) -> None:
    assert spoken(text) == expected
