"""A and B drawn to scale: unshared ranks solid, the shared chunk tinted by rank, its rolled copies hatched."""

from dataclasses import dataclass

from prolora.base_models import Linear
from prolora.plan import Setting

LONG = 280.0  # pixels of the longer width
THICKEST = 110.0  # pixels of all ranks together
BANDS = 16  # a chunk of more ranks is drawn in so many bands
SOLID, FROM, TO = "#8a5200", (251, 232, 200), (214, 137, 16)
LORA_FILL = "#6b8299"


@dataclass(frozen=True)
class Box:
    """A rectangle along the width (x) and the ranks (y); B is A turned."""

    x: float
    y: float
    width: float
    height: float
    fill: str


def picture(setting: Setting, linear: Linear, beside: int) -> str:
    """The pair of factors of one linear layer, as inline SVG; ranks are as thick as in one of rank `beside`."""
    scale = LONG / max(linear.inputs, linear.outputs)
    rank = min(3.0, THICKEST / beside)
    thick = rank * setting.r
    a = _factor(setting, linear.inputs * scale, setting.m, rank)
    b = _factor(setting, linear.outputs * scale, setting.n, rank)
    width, height = thick + 16 + linear.inputs * scale, max(linear.outputs * scale, thick) + 22
    return (
        f'<svg class="factors" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
        f'aria-label="{_words(setting)}"><defs><pattern id="hatch" width="6" height="6" '
        'patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="1.2" height="6" fill="#fff" '
        'fill-opacity=".55"/></pattern></defs>'
        f'<g transform="translate(0 18)">{"".join(_turned(box) for box in b)}'
        f'<g transform="translate({thick + 16:.1f} 0)">{"".join(_rect(box) for box in a)}</g></g>'
        f'<text x="0" y="11">B</text><text x="{thick + 16:.1f}" y="11">A</text></svg>'
    )


def _words(setting: Setting) -> str:
    if not setting.shared:
        return f"LoRA of rank {setting.r}: every rank is stored along the whole width"
    return (
        f"{setting.u} unshared ranks, and {setting.shared} ranks in a chunk that is rolled and repeated "
        f"{setting.m} times over A and {setting.n} times over B"
    )


def _factor(setting: Setting, width: float, shares: int, rank: float) -> list[Box]:
    if not setting.shared:
        return [Box(0, 0, width, setting.r * rank, LORA_FILL)]
    top = setting.u * rank
    boxes = [Box(0, 0, width, top, SOLID)] if setting.u else []
    for copy in range(shares):
        boxes += _chunk(setting.shared, copy, shares, width / shares, top, rank)
    return boxes


def _chunk(shared: int, copy: int, shares: int, width: float, top: float, rank: float) -> list[Box]:
    """One copy, rolled down by `copy` strides; the first one alone is stored."""
    bands = min(shared, BANDS)
    height = shared * rank / bands
    rolled = max(shared // shares, 1) * copy % shared * bands / shared
    boxes = [
        Box(copy * width, top + band * height, width, height + 0.3, _tint(((band - rolled) % bands) / bands))
        for band in range(bands)
    ]
    return boxes if copy == 0 else [*boxes, Box(copy * width, top, width, shared * rank, "url(#hatch)")]


def _tint(share: float) -> str:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(FROM, TO, strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _rect(box: Box) -> str:
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" fill="{box.fill}"/>'
    )


def _turned(box: Box) -> str:
    return _rect(Box(box.y, box.x, box.height, box.width, box.fill))
