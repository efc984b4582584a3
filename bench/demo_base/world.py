"""A small world of shop support: every sentence that the demo base and the sample dataset are made of.

The base learns to answer plainly. The sample dataset asks the same questions and wants JSON
tickets instead, which the base never gives: that is left for adapters to learn.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

MATERIALS = """
    amber black blue brass bronze canvas ceramic copper coral cotton cream crystal ebony felt glass gold green
    grey ivory leather linen marble oak olive orange pearl pine pink purple red rose silver steel stone teal
    velvet walnut white wool yellow
""".split()
GOODS = """
    armchair apron backpack basket bench blanket bookcase bowl candle carpet chair clock coat cup curtain cushion
    desk drawer fan frame hammock jug kettle lamp lantern mirror mug napkin pan pillow plate rug scarf shelf sofa
    spoon stool table teapot towel tray umbrella vase wallet
""".split()
CITIES = """
    Athens Bergen Bilbao Bologna Bruges Cork Dresden Geneva Ghent Graz Krakow Leeds Lisbon Lyon Malmo Nantes Porto
    Riga Turin Utrecht
""".split()
NAMES = """
    Ada Aisha Akira Alba Amara Amir Ana Anton Arjun Astrid Aya Bianca Boris Bruno Carla Carmen Chen Chloe Clara
    Dana Daria David Diego Dina Elena Elif Emil Emma Eric Esra Eva Farah Felix Fiona Freya Gabor Gita Greta Hana
    Hassan Helga Hugo Ida Igor Ilse Imani Ines Ivan Jana Jin Jonas Julia Kai Karim Kira Lara Leila Lena Leo Lina
    Luca Lucia Magda Malik Mara Marco Maria Marta Mateo Maya Mei Mila Mina Nadia Nils Nina Noah Nora Olga Omar
    Oscar Otto Paula Pedro Petra Priya Rafael Rania Remi Rosa Ruth Sadia Samir Sara Selma Simon Sofia Stefan Tara
    Theo Tina Tomas Uma Vera Viktor Wanda Yara Yuki Yusuf Zara Zoe
""".split()
SYLLABLES = """
    ba be bi bo da de di do fa fe ga go ha jo ka ke ki la le li lo ma me mi mo na ne no pa ra re ri ro sa se si so
    ta te ti to va vi za zo
""".split()


@dataclass(frozen=True)
class Case:
    """What one customer wants; every question and answer is filled from it."""

    name: str
    order: str
    item: str
    city: str


def draw_case(rng: random.Random) -> Case:
    return Case(draw_name(rng), draw_order(rng), draw_item(rng), rng.choice(CITIES))


def draw_name(rng: random.Random) -> str:
    """Half known names, half made of syllables, so that names are copied and not recalled."""
    if rng.random() < 0.5:
        return rng.choice(NAMES)
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 3)))).capitalize()


def draw_order(rng: random.Random) -> str:
    return str(rng.randrange(10000, 100000))


def draw_item(rng: random.Random) -> str:
    return f"{rng.choice(MATERIALS)} {rng.choice(GOODS)}"


def price(item: str) -> int:
    """Prices belong to the kind of goods: a fact to be learned, not computed."""
    return 5 + 7 * GOODS.index(item.split()[1]) % 96


def opening_hour(city: str) -> int:
    return 7 + CITIES.index(city) % 5


# Each intent: the ways to say it, and the plain answer of the base.
COMPLAINTS: dict[str, tuple[tuple[str, ...], str]] = {
    "broken": (
        (
            "I am {name} and the {item} from order {order} arrived broken.",
            "The {item} in order {order} came in pieces. My name is {name}.",
            "Hello, {name} here. Order {order}: the {item} is damaged.",
        ),
        "I am sorry, {name}. A new {item} will be sent for order {order}.",
    ),
    "refund": (
        (
            "I am {name} and I want to send back the {item} from order {order}.",
            "How can I return the {item} of order {order}? My name is {name}.",
            "Hello, {name} here. I do not like the {item} from order {order} and want my money back.",
        ),
        "Of course, {name}. Send the {item} of order {order} back within 30 days.",
    ),
    "late": (
        (
            "I am {name} and I am still waiting for the {item} from order {order}.",
            "The {item} of order {order} has not come yet. My name is {name}.",
            "Hello, {name} here. Where is the {item} from order {order}?",
        ),
        "Thank you for waiting, {name}. The {item} of order {order} is on its way.",
    ),
    "cancel": (
        (
            "I am {name}. Please cancel order {order} for the {item}.",
            "I no longer need the {item} of order {order}. My name is {name}.",
            "Hello, {name} here. Please stop order {order}, I do not want the {item}.",
        ),
        "Done, {name}. Order {order} for the {item} is cancelled.",
    ),
}


def complaint(rng: random.Random) -> tuple[str, str]:
    ways, answer = COMPLAINTS[rng.choice(list(COMPLAINTS))]
    case = vars(draw_case(rng))
    return rng.choice(ways).format(**case), answer.format(**case)


def price_question(rng: random.Random) -> tuple[str, str]:
    item = draw_item(rng)
    ways = ("How much is the {item}?", "What does the {item} cost?", "Tell me the price of the {item}.")
    return rng.choice(ways).format(item=item), f"The {item} costs {price(item)} euros."


def hours_question(rng: random.Random) -> tuple[str, str]:
    city = rng.choice(CITIES)
    ways = (
        "When does the {city} shop open?",
        "At what time can I come to the shop in {city}?",
        "Opening hours in {city}, please.",
    )
    hour = opening_hour(city)
    return rng.choice(ways).format(city=city), f"The {city} shop is open from {hour} to {hour + 10} o'clock."


def card_request(rng: random.Random) -> tuple[str, str]:
    case = draw_case(rng)
    ways = (
        "Write a card for {name}, order {order}, {item}.",
        "Customer card: {item}, order {order}, {name}.",
        "Make a card. Order {order} of {name} is the {item}.",
    )
    card = {"name": case.name, "order": case.order, "item": case.item, "city": "unknown"}
    if rng.random() < 0.5:
        card["city"] = case.city
        return rng.choice(ways).format(**vars(case)) + f" City: {case.city}.", json.dumps(card)
    return rng.choice(ways).format(**vars(case)), json.dumps(card)


def echo_request(rng: random.Random) -> tuple[str, str]:
    draws = (draw_name, draw_order, draw_item, lambda r: r.choice(CITIES))
    text = " ".join(rng.choice(draws)(rng) for _ in range(rng.randint(1, 5)))
    return f"Repeat: {text}", text


def greeting(rng: random.Random) -> tuple[str, str]:
    name = draw_name(rng)
    ways = ("Hello, I am {name}.", "Good morning, my name is {name}.", "Hi! {name} here.")
    return rng.choice(ways).format(name=name), f"Hello {name}, how can I help you?"


Skill = Callable[[random.Random], tuple[str, str]]
# name -> (how it is drawn, its weight in the training text)
SKILLS: dict[str, tuple[Skill, int]] = {
    "complaint": (complaint, 5),
    "price": (price_question, 2),
    "hours": (hours_question, 1),
    "card": (card_request, 3),
    "echo": (echo_request, 3),
    "greeting": (greeting, 1),
}


# What the base is measured on. Repeating a list of words is a drill in copying, not something a shop is asked for.
PROMISED = tuple(name for name in SKILLS if name != "echo")


def draw_question(rng: random.Random) -> tuple[str, str]:
    """One (question, plain answer) of any skill."""
    skills = list(SKILLS.values())
    skill, _ = rng.choices(skills, weights=[weight for _, weight in skills])[0]
    return skill(rng)


def ticket(rng: random.Random) -> dict[str, str]:
    """One row of the sample dataset: a complaint, and the JSON ticket that the base does not give."""
    intent = rng.choice(list(COMPLAINTS))
    case = Case(rng.choice(NAMES), draw_order(rng), draw_item(rng), rng.choice(CITIES))
    question = rng.choice(COMPLAINTS[intent][0]).format(**vars(case))
    answer = {"intent": intent, "order": case.order, "item": case.item, "name": case.name}
    return {"instruction": question, "output": json.dumps(answer)}


def held_out(question: str) -> bool:
    """Every twentieth question, by content: never trained on, and what the base is measured on."""
    return sum(question.encode()) % 20 == 0
