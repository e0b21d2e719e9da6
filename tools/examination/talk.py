"""What is asked in the examination, in words that training did not use, and what is a polite no."""

import random

from mlx_gemma4.evaluate.tiny.receipts import ABSENT
from mlx_gemma4.evaluate.tiny.tasks import BLIND, INTRODUCTION

WORDLESS = "I heard no words."
UNREADABLE = "I cannot read this picture."
NOT_SHOWN = "That is not in the picture."
NO = ("i cannot", "i do not", "i am a tiny", BLIND.lower(), NOT_SHOWN.lower(), ABSENT.lower())
"""How an answer starts that invents nothing."""

WORDINGS = {
    "total": (
        "so how much did all of that cost", "what was the total in the end",
        "how much money is the total", "what is the total on this one",
        "I paid how much", "what total is written here", "how much did the whole thing cost",
        "could you read out the total", "what was the whole amount", "the sum total please",
    ),
    "tax": (
        "how much tax was that", "what is the amount of the tax", "and how much was the tax",
        "could you read out the tax", "which tax is written here", "how much was tax",
    ),
    "date": (
        "which date is written here", "what was the date of this", "when exactly was that",
        "could you read out the date", "what date is this from", "which day is it from",
    ),
    "shop": (
        "which shop was this", "what was the name of that shop", "at which store was that",
        "could you read out the shop", "what shop is written here", "whose shop is it",
    ),
    "count": (
        "how many items did they count", "how many items is that", "how many items were bought",
        "could you count the items", "how many items are written here",
    ),
}  # fmt: skip
ITEM = ("what was the {} in money", "how much did they want for the {}", "what did one {} cost",
        "could you read out the price of the {}", "and the {} was how much")  # fmt: skip
ABSENT_THINGS = (
    "what is the phone number of the shop", "which table was it", "what is the tip",
    "who was the waiter", "what is the postcode", "at what hour was it", "what was the rebate",
    "who signed it", "what is the serial number", "how much is the deposit",
)  # fmt: skip
OUTSIDE = (
    "what is the tallest mountain on earth", "who invented the telephone", "how big is the sun",
    "write me a song about autumn", "what is 17 times 23", "is it cold outside today",
    "who is the king of norway", "translate good night into spanish", "how do I bake bread",
    "what is the speed of light", "recommend me a good book", "which team is the champion",
    "when did the second world war end", "how do I fix a flat tire", "what is a black hole",
    "how many legs has a spider", "write a function that sorts a list", "what should I eat tonight",
    "who painted the mona lisa", "book me a table for four", "what is the currency of japan",
    "why do leaves fall", "explain how a fridge works", "name the planets", "is honey healthy",
    "how long is the nile", "what is the password of my computer", "do ghosts exist",
    "what did I do yesterday", "read me the news of today", "who is your favourite singer",
    "send this to my brother", "what rhymes with orange", "how do vaccines work",
)  # fmt: skip
GREETINGS = ("hello you", "hi, who is this", "hey, what can you do for me", "good morning to you",
             "what sort of model are you", "who am I talking to", "tell me what you can do",
             "are you a big model")  # fmt: skip
SENTENCES = (
    "we will meet at the station at noon", "the children are playing in the park",
    "my brother has bought a new car", "please bring me a cup of tea",
    "it was a long and cold night",
    "she reads a book in the evening", "the train is late again",
    "he lost his keys on the way home",
    "there is snow on the road", "i would like to go to the beach",
    "the dog sleeps under the table",
    "we have no milk and no bread", "open the door and come in", "this is the best day of the year",
    "they are waiting for the bus", "my mother makes very good soup",
    "the shop is closed on sunday",
    "can we talk about it tomorrow", "he works in a small office", "the water is too hot",
    "put the books on the shelf", "our friends live in the city", "it is time to go to bed",
    "i have never seen such a big tree", "the old man walks slowly", "you can leave your bag here",
)  # fmt: skip
DIALOGS = (
    (("Delete file?",), ("Cancel", "OK")), (("Save changes?",), ("No", "Yes")),
    (("Close the window?",), ("Close", "Stay")), (("Disk is full.",), ("Retry", "Ignore")),
    (("Restart now?",), ("Later", "Restart")), (("Send message?",), ("Send", "Cancel")),
    (("File not found.",), ("OK",)), (("Print page?",), ("Print", "Cancel", "Help")),
    (("Open the note?",), ("Open", "Cancel")), (("Update ready.",), ("Install", "Later")),
    (("Move file?",), ("Move", "Copy", "Cancel")), (("Stop the timer?",), ("Stop", "Back")),
)  # fmt: skip
BUTTONS = ("which buttons are there?", "what buttons does it have?", "which buttons can I press?")
MESSAGE = ("what does it say?", "what is the message?", "what does the dialog say?")
CELL = ("what is the {column} of {row}?", "how much is the {column} of {row}?")
MORE = ("which is more?", "which one is more?", "which total is higher?")
APPS = ("notes", "mail", "music", "camera", "files", "calendar", "clock", "maps")
OPEN = ("open {}", "please open {}", "start {}")
TOOL = {
    "type": "function",
    "function": {
        "name": "open_app",
        "description": "Open an app.",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        },
    },
}


def question(rng: random.Random, kind: str, item: str = "") -> str:
    """A question about a receipt in words of the examination."""
    return rng.choice(ITEM if kind == "price" else WORDINGS[kind]).format(item)


def styled(rng: random.Random, sentence: str) -> str:
    """Any case, any mark at its end."""
    case = rng.choice((str.upper, str.lower, str.title, str.capitalize, str.swapcase))
    return case(sentence) + rng.choice(("", "?", ".", "!", "??", "...", " ?"))


def not_shown(_: str, answer: str) -> bool:
    """Whether an answer means "not shown", in the first world's words or in later ones."""
    return answer in (NOT_SHOWN, ABSENT)


def declines(answer: str) -> bool:
    """Whether an answer invents nothing."""
    return answer.strip().lower().startswith(NO)


__all__ = ["BLIND", "INTRODUCTION"]
