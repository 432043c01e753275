"""The functions of the scenarios that need no Gradio: tests know from them what to expect."""

import time


def echo(text):
    return text


def plain(a, b=3):
    return f"{a}:{b}"


def two(text):
    return text.upper(), len(text)


def none():
    return None


def count(n, delay=0.0):
    for i in range(int(n)):
        time.sleep(delay)
        yield f"{i}"


def grow(n):
    text = ""
    for i in range(int(n)):
        text += f"word{i} "
        yield text


TABLES = (
    [[1, 2, 3], [4, 5, 6]],
    [[1], [4]],
    [[1, 7], [4, 8], [9, 9]],
    [],
    [[5, [1, 2, [3, 4, 5]]], {"k": [1, 2, 3]}],
    [[5, [1, [3]]], {"k": []}],
)


def tables():
    yield from TABLES


def frames():
    for columns, rows in ((3, 2), (1, 2), (4, 3), (2, 1)):
        yield {
            "headers": [f"c{column}" for column in range(columns)],
            "data": [[f"{row}.{column}" for column in range(columns)] for row in range(rows)],
        }


def mixed():
    for i in range(4):
        yield f"step {i}", {"i": i, "seen": list(range(i)), "flag": i % 2 == 0}


def slow(seconds, tag=""):
    time.sleep(float(seconds))
    return f"slept {tag}"


def remember(text, state):
    state = [*(state or []), text]
    return " ".join(state), state


def between(first, state, last):
    return f"{first}/{state}/{last}", (state or 0) + 1


def nan():
    return {"nan": float("nan"), "inf": float("inf"), "text": "naïve ✓ 🎉"}


def even_only(n):
    return n


RAN = []


def traced(seconds, tag):
    RAN.append(tag)
    time.sleep(float(seconds))
    return tag


def ran():
    return " ".join(RAN)


def pair(lefts, rights):
    if "bad" in lefts:
        raise ValueError("a bad pair")
    both = zip(lefts, rights, strict=True)
    return [f"{left}+{right}" for left, right in both], list(map(len, lefts))


def tally(n, delay, state):
    for i in range(int(n)):
        time.sleep(float(delay))
        state = (state or 0) + 1
        yield f"{i}/{state}", state
