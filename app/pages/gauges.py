"""What a run shows while it goes on: each number with the line of where it came from."""

from collections.abc import Sequence
from html import escape

from app.pages.show import THIN, number
from app.services.jobs import Curve, Detail

WIDTH, HEIGHT = 120, 28
Points = Sequence[tuple[int, float]]


def gauges(detail: Detail, curves: Sequence[Curve]) -> str:
    """Tiles; nothing before the first number."""
    own = detail.latest.get(detail.line.id, {})
    if not own:
        return ""
    lines = {curve.metric: curve.points for curve in curves if curve.job_id == detail.line.id}
    tiles = [
        _tile(title, words(own[metric][1]), lines.get(metric, ())) for metric, title, words in SHOWN if metric in own
    ]
    if detail.peak_bytes:
        tiles.append(_tile("Most memory", gibibytes(detail.peak_bytes)))
    return f'<div class="tiles gauges">{"".join(tiles)}</div>'


def gibibytes(size: float) -> str:
    return f"{size / 2**30:.2f}{THIN}GiB"


def rate(value: float) -> str:
    """0.0003 as 3e-4."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _tile(title: str, words: str, points: Points = ()) -> str:
    return f"<div class=tile><span>{escape(title)}</span><b>{escape(words)}</b>{spark(points, title)}</div>"


def spark(points: Points, title: str) -> str:
    """A line without axes; the tile beside it says the last value."""
    if len(points) < 2:
        return ""
    low, high = min(value for _, value in points), max(value for _, value in points)
    first, last = points[0][0], points[-1][0]
    across, up = WIDTH / (last - first), (HEIGHT - 2) / ((high - low) or 1)
    path = " ".join(f"{(step - first) * across:.1f},{HEIGHT - 1 - (value - low) * up:.1f}" for step, value in points)
    about = f"{title} between {low:.4g} and {high:.4g} over steps {first} to {last}"
    return (
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(about)}"><title>{escape(about)}</title><polyline points="{path}"/></svg>'
    )


SHOWN = (
    ("loss", "Training loss", "{:.3f}".format),
    ("validation_loss", "Held-out loss", "{:.3f}".format),
    ("learning_rate", "Learning rate", rate),
    ("tokens_per_second", "Tokens a second", number),
    ("memory", "Memory", gibibytes),
)
