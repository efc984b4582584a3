"""The wizard's heart as HTML: the chosen suggestion open, the LoRA of equal size beside it, and the picture."""

from html import escape

from app.pages.picture import picture
from app.pages.show import facts, megabytes, number
from app.services.planning import Offer, fits_in_20_gib
from prolora.planner import Suggestion

TERMS = (
    "<p class=terms><b>Rank</b> r: how many directions an adapter can change. <b>u</b> of them are stored whole "
    "(unshared); the others share one chunk that is used <b>m</b> times over A and <b>n</b> times over B, each copy "
    "rolled one step further.</p>"
)


def cards(offer: Offer, key: str) -> str:
    chosen = offer.choice(key)
    pair = _card(chosen, "PRoLoRA", "prolora") + _card(offer.lora, "LoRA of equal budget", "lora")
    return f'<div class="offer">{pair}</div>{_pictures(offer, chosen)}{TERMS}<p class=lead>{escape(offer.note)}</p>'


def problem(words: str) -> str:
    return f'<p class="problem">{escape(words)}</p>'


def _card(suggestion: Suggestion, title: str, method: str) -> str:
    s = suggestion.setting
    numbers = [("r", s.r), ("u", s.u), ("m", s.m), ("n", s.n)] if s.shared else [("r", s.r)]
    letters = "".join(f"<div><span>{letter}</span><b>{value}</b></div>" for letter, value in numbers)
    about = facts(
        [
            ("Parameters", number(suggestion.parameters)),
            ("On disk", megabytes(suggestion.size_bytes)),
            ("Adapters in 20 GiB", number(fits_in_20_gib(suggestion))),
            ("Against the budget", f"{suggestion.gap:+.2%}".replace("-", "−")),
        ]
    )
    return (
        f'<article class="card {method}"><h3>{escape(title)}</h3><div class="letters">{letters}</div>{about}'
        f"<p>{escape(suggestion.reason)}</p></article>"
    )


def _pictures(offer: Offer, chosen: Suggestion) -> str:
    linear = offer.base.shapes.linears[0]
    sides = f"{number(linear.outputs)} × {number(linear.inputs)}"
    words = (
        f"The factors of one {escape(linear.name)} ({sides}), widths to scale and ranks magnified alike. "
        "Dark: unshared. Tinted: the chunk; hatched: its rolled copies, which cost nothing."
    )
    both = "".join(f"<div>{picture(each.setting, linear, chosen.setting.r)}</div>" for each in (chosen, offer.lora))
    return f'<figure class="picture">{both}<figcaption>{words}</figcaption></figure>'
