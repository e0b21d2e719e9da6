"""What can be asked and said in the small world, in many wordings; one core in six is held out.

A question is a core with words of politeness around it, in any case, with or without punctuation.
Which cores are held out is a function of their text, so that training and examination agree.
"""

import random
import zlib

from mlx_gemma4.evaluate.tiny.receipts import QUESTIONS
from mlx_gemma4.evaluate.tiny.tasks import GREETINGS, REQUESTS

NO_WORDS = "I heard no words."
NOT_SHOWN = "That is not in the picture."
UNREADABLE = "I cannot read this picture."
OUTSIDE = "I cannot help with that. I can read a receipt or write down what you say."

CORES = {
    "total": (
        "what is the total",
        "how much is the total",
        "what is the total amount",
        "how much did I pay",
        "how much do I have to pay",
        "what do I have to pay",
        "how much was it",
        "how much is it in total",
        "how much is it all together",
        "what does it all cost",
        "what did it all cost",
        "what did I pay",
        "what did I spend",
        "how much did I spend",
        "how much money did I spend",
        "what is the sum",
        "what is the whole sum",
        "what is the bill",
        "how much is the bill",
        "what is the final amount",
        "what is the amount to pay",
        "the total",
        "total",
        "total amount",
        "sum",
        "read the total",
        "read me the total",
        "show me the total",
        "give me the total",
        "I need the total",
        "find the total",
        "what comes out at the end",
        "how much does everything cost",
        "what is the price of everything",
        "what does it come to",
        "how much does it come to",
    ),
    "tax": (
        "what is the tax",
        "how much is the tax",
        "how much tax is on it",
        "how much tax is there",
        "how much tax did I pay",
        "how much of it is tax",
        "what tax did I pay",
        "what is the amount of tax",
        "the tax",
        "tax",
        "read the tax",
        "show me the tax",
        "give me the tax",
        "I need the tax",
        "find the tax",
        "what part is tax",
        "what tax is on it",
        "how high is the tax",
        "what was the tax",
    ),
    "date": (
        "what is the date",
        "what date is on it",
        "which day was it",
        "what day was it",
        "which date is it",
        "when was it",
        "when was this",
        "when did I buy this",
        "when did I buy it",
        "when was I there",
        "what day is on it",
        "on what day was it",
        "on which day did I buy this",
        "the date",
        "date",
        "read the date",
        "show me the date",
        "give me the date",
        "I need the date",
        "find the date",
        "of what day is it",
        "what is the day",
    ),
    "shop": (
        "what is the shop",
        "which shop is it",
        "what is the name of the shop",
        "where was it",
        "where was I",
        "where did I buy this",
        "where did I buy it",
        "where is it from",
        "in which shop was it",
        "what shop is it",
        "which store is it",
        "what is the store",
        "who sold it",
        "what is the shop called",
        "how is the shop called",
        "the shop",
        "shop",
        "name of the shop",
        "the name of the store",
        "read the name of the shop",
        "show me the shop",
        "give me the name of the shop",
        "I need the name of the shop",
        "find the shop",
        "from which shop is it",
    ),
    "count": (
        "how many items",
        "how many items are there",
        "what is the number of items",
        "how many things are there",
        "how many things did I buy",
        "how many items did I buy",
        "how many articles are on it",
        "how many things are on it",
        "how many goods are there",
        "count the items",
        "count the things",
        "the number of items",
        "number of items",
        "give me the number of items",
        "show me the number of items",
        "how many did I buy",
        "how many articles",
        "how many are there",
    ),
    "price": (
        "how much is the {}",
        "what does the {} cost",
        "what is the price of the {}",
        "how much was the {}",
        "how much did the {} cost",
        "what did the {} cost",
        "how much does the {} cost",
        "how much did I pay for the {}",
        "what did I pay for the {}",
        "what is the cost of the {}",
        "the price of the {}",
        "price of {}",
        "how much for the {}",
        "{}",
        "the {}",
        "read the price of the {}",
        "show me the price of the {}",
        "find the price of the {}",
        "I need the price of the {}",
        "what was the price of the {}",
    ),
    "lines": (
        "read all lines",
        "read the text",
        "what is written here",
        "read everything",
        "read it all",
        "read all of it",
        "read the whole text",
        "read the picture",
        "read it to me",
        "write down the text",
        "write down all lines",
        "what does it say",
        "what text is there",
        "what can you read",
        "what is on it",
        "show me all lines",
        "all lines",
        "what is in the picture",
    ),
    "what": (
        "what is this",
        "what do you see",
        "what kind of picture is it",
        "what is it",
        "what does the picture show",
        "what am I showing you",
    ),
}
UNSHOWN = (
    "what is the phone number",
    "what is the address",
    "who is the cashier",
    "what time was it",
    "what is the name of the street",
    "what is the email",
    "which city is it",
    "what is the discount",
    "how did I pay",
    "what is the card number",
    "who paid",
    "what is the weight",
    "is there a signature",
    "what is the color of the car",
    "how many people are there",
    "is there a dog",
    "what animal is it",
    "who is in the picture",
    "what is the website",
    "what is the customer number",
    "what is the number of the table",
    "who served me",
    "what is the time on it",
    "is there a stamp",
    "what is the order number",
    "when does it open",
    "was it paid in cash",
    "what is the change",
    "is there a logo",
    "how long is the warranty",
    "what is the name of the customer",
    "which country is it",
    "what is the brand",
    "who wrote this",
    "what is the title",
    "is there a tree",
    "what color is the house",
    "what is the password",
    "how old is the person",
    "what does the sign say",
    "which street is it",
    "what is the zip code",
    "is there a barcode",
)
SELF = (
    *GREETINGS,
    "hey",
    "hello there",
    "good evening",
    "good afternoon",
    "good day",
    "what are you",
    "what is your name",
    "tell me about yourself",
    "who made you",
    "are you gemma",
    "are you a person",
    "are you a robot",
    "what do you know",
    "how can you help me",
    "can you help me",
    "what can I ask",
    "what can I do here",
    "what should I do",
    "how does this work",
    "thanks",
    "thanks a lot",
    "many thanks",
    "introduce yourself",
    "which model are you",
    "what model is this",
    "is anybody there",
    "nice to meet you",
    "hi there",
    "good night",
    "how do you do",
    "how is it going",
    "what is up",
    "what kind of model are you",
    "what sort of program is this",
    "what is this program",
    "who is there",
    "what do you do",
    "what are you good at",
    "what are you for",
    "what is it that you can do",
    "how can I use you",
    "how do I use this",
    "where do I start",
    "what can I show you",
    "what can I say to you",
    "what can I ask you",
    "explain yourself",
    "describe yourself",
    "say who you are",
    "say something about yourself",
    "are you real",
    "are you human",
    "are you a computer",
    "are you an assistant",
    "do you have a name",
    "what should I call you",
    "who built you",
    "who trained you",
    "where do you come from",
    "I need help",
    "please help me",
    "thank you very much",
    "thanks for the help",
    "goodbye",
    "bye",
    "see you",
)
BEYOND = (
    "what is the capital of france",
    "what is the capital of {}",
    "who is the president of {}",
    "how many people live in {}",
    "where is {}",
    "what language is spoken in {}",
    "tell me a joke",
    "tell me a story",
    "tell me about {}",
    "write a poem",
    "write a poem about {}",
    "write a letter to {}",
    "write a program in python",
    "sing a song",
    "what is two plus two",
    "what is {} times {}",
    "how much is {} plus {}",
    "translate this to {}",
    "how do you say {} in german",
    "what is the weather",
    "what is the weather in {}",
    "will it rain tomorrow",
    "what is the news",
    "who won the game",
    "play some music",
    "what time is it",
    "how old are you",
    "do you like {}",
    "what do you think about {}",
    "what is the meaning of life",
    "explain {}",
    "what is {}",
    "why is the sky blue",
    "why is {} so {}",
    "how do I cook {}",
    "give me a recipe for {}",
    "how far is {}",
    "draw a {}",
    "who wrote {}",
    "when was {} born",
    "who was {}",
    "should I buy {}",
    "book a flight to {}",
    "I feel {}",
    "I am {}",
    "my name is {}",
    "how tall is {}",
    "what is the best {}",
    "can you drive a {}",
    "name three {}",
    "define {}",
)
TOPICS = tuple(
    """paris london spain italy japan india china africa berlin rome texas mars jupiter
    water love war peace music football tennis chess history physics math art dogs cats birds
    horses fish cars trains planes bicycles computers phones books films summer winter snow
    rain chicken pizza soup cake potatoes einstein newton mozart shakespeare napoleon hungry
    tired happy sad seven eleven twelve forty gravity energy money time space flowers
    trees""".split()
)
BEFORE = ("please", "tell me", "can you tell me", "do you know", "say", "so", "and", "now",
          "ok", "hey", "hello", "I want to know", "I would like to know", "excuse me",
          "well")  # fmt: skip
AFTER = ("please", "here", "on this receipt", "on the receipt", "in this picture", "now", "again",
         "thank you", "on it", "there")  # fmt: skip
TRANSCRIBE = (
    "write down what you hear",
    "what did you hear",
    "transcribe the sound",
    "what was said",
    "write down what was said",
    "transcribe this",
    "transcribe it",
    "what do you hear",
    "what did I say",
    "write it down",
    "write down the words",
    "repeat what you heard",
    "what does the voice say",
    "what is said here",
    "listen and write",
    "type what I say",
    "which words do you hear",
)
_KEPT = {*GREETINGS, *REQUESTS, *(form for forms in QUESTIONS.values() for form in forms)}
_SALT = 360  # with it, every word but nine of the cores held out is in a core of training
FOLLOW = ("and {}", "what about {}", "and what about {}", "now {}", "then {}")
NOUNS = {"total": "the total", "tax": "the tax", "date": "the date", "shop": "the shop",
         "count": "the number of items", "price": "the {}"}  # fmt: skip


def part(pool: tuple[str, ...], examination: bool) -> list[str]:
    """Those of a pool that belong to training, or to the examination; all where there are none."""
    return [c for c in pool if held_out(c) == examination] or list(pool)


def held_out(core: str) -> bool:
    """One core in six is never practised; what the model was taught from the beginning is kept."""
    return core not in _KEPT and zlib.crc32(f"{_SALT} {core}".encode()) % 6 == 0


def question(kind: str, rng: random.Random, examination: bool = False, item: str = "") -> str:
    """A question in small letters without punctuation, as it is spoken."""
    form = rng.choice(part(CORES[kind], examination))
    if rng.random() < 0.1 and kind in NOUNS and not examination:
        form = rng.choice(FOLLOW).format(NOUNS[kind])
    if rng.random() < 0.3:
        form = f"{rng.choice(BEFORE)} {form}"
    if rng.random() < 0.2:
        form = f"{form} {rng.choice(AFTER)}"
    return form.format(item).lower()


def beyond(rng: random.Random, examination: bool = False) -> str:
    """Something that this model cannot answer, in small letters."""
    form = rng.choice(part(BEYOND, examination))
    text = form.format(*rng.choices(part(TOPICS, examination), k=3))
    if rng.random() < 0.25:
        text = f"{rng.choice(BEFORE)} {text}"
    return text.lower()


def written(sentence: str, rng: random.Random) -> str:
    """A sentence as somebody types it: capitals and punctuation as they come."""
    form = rng.random()
    if form < 0.35:
        sentence = sentence[:1].upper() + sentence[1:]
    elif form < 0.5:
        sentence = sentence.upper()
    elif form < 0.65:
        sentence = rng.choice((sentence.title(), sentence.swapcase()))
    sentence = sentence.replace(" i ", " I ") if rng.random() < 0.7 else sentence
    return sentence + rng.choice(("", "", "?", "?", ".", "!", " ?", "??", "..."))
