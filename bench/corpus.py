"""A file of instruction rows of any size, the same each time, for the benchmarks of reading."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

ROWS, SIZE = 700_000, 10**9  # rows, and bytes of the file
WORDS = tuple(
    "order kettle invoice return parcel refund copper garden basil warranty delivery account address number customer "
    "please question broken ticket carrier Tuesday morning receipt payment card store window colour blue naïve café "
    "Köln résumé the a of to and in that is for it with as was on be at by this had not are but from or have".split()
)
REPEATED, BAD = 100, 1_000  # one row in so many says what an earlier one says; one in so many cannot be used


def write(path: Path, rows: int = ROWS, size: int = SIZE) -> None:
    """`rows` lines of about size / rows bytes each, as Alpaca's fields."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(_lines(random.Random(1), rows, size / rows))


def _lines(draw: random.Random, rows: int, length: float) -> Iterator[str]:
    texts = [" ".join(draw.choices(WORDS, k=12)) for _ in range(50_000)]
    kept: list[str] = []
    for number in range(rows):
        if number % BAD == BAD - 1:
            yield json.dumps({"instruction": f"Row {number}", "input": "", "output": ""}) + "\n"
        elif number % REPEATED == REPEATED - 1:
            yield draw.choice(kept)
        else:
            line = _line(draw, texts, number, length)
            if len(kept) < 10_000:
                kept.append(line)
            yield line


def _line(draw: random.Random, texts: list[str], number: int, length: float) -> str:
    """Most of it the answer; a line break, a quotation mark and what is not ASCII stand in many rows."""
    goal = draw.uniform(0.4, 1.6) * length - 180
    answer, long = [draw.choice(texts)], 75
    while long < goal:
        answer.append(draw.choice(texts))
        long += len(answer[-1]) + 2
    row = {
        "instruction": f"{draw.choice(texts)}, “{number}”?",
        "input": draw.choice(texts) if number % 3 == 0 else "",
        "output": ".\n".join(answer),
    }
    return json.dumps(row, ensure_ascii=number % 2 == 0) + "\n"


def write_items(path: Path, count: int = 1_319) -> None:
    """Questions and answers as GSM8K writes them, of the rows' words but in an order of their own."""
    draw = random.Random(2)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            item = {"question": " ".join(draw.choices(WORDS, k=45)), "answer": " ".join(draw.choices(WORDS, k=60))}
            file.write(json.dumps(item) + "\n")
