"""METHODS: what can be trained by name, what each costs exactly, and what of it a budget buys. No torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prolora.base_models import Linear, Shapes
from prolora.budget import count as count_shared
from prolora.budget import grouped, smallest, usable_rates
from prolora.errors import PlanError
from prolora.layout import Layout
from prolora.plan import PROJECTIONS, SHARING, TIED, UNROTATED, MethodName, Setting
from prolora.planner import MAX_RANK, BudgetTooSmall, Facts, suggest

Family = Literal["prolora", "lora", "other"]
Targets = tuple[str, ...]
PAPERS_VERA_RANK = 256  # its trial of 4,096 gained nothing


@dataclass(frozen=True)
class Method:
    """One method as a person chooses it.

    `count` is the number of trained parameters. Methods that share nothing have one knob, their rank, which a
    Setting carries as u = r.
    """

    name: MethodName
    title: str
    sentence: str  # what it is
    family: Family
    count: Callable[[Setting, Shapes, Targets], int]
    served: bool = True  # stored as a PRoLoRA or a LoRA and nothing more, so that vLLM can serve it
    modules: Targets = PROJECTIONS  # those it can adapt
    step: int = 1  # ranks are multiples of it
    most_rank: int | None = None  # what a budget buys at most


@dataclass(frozen=True)
class Fit:
    """What of a method comes nearest to a budget."""

    method: MethodName
    setting: Setting
    target_modules: Targets
    parameters: int
    gap: float  # relative to the budget; negative: below it


def dora_count(setting: Setting, shapes: Shapes, targets: Targets) -> int:
    """A LoRA, or PRoLoRA, and one length for each row of the weight (DoRA, arXiv 2402.09353, Eq. 5)."""
    return count_shared(setting, shapes, targets) + _over(shapes, targets, lambda linear: linear.outputs)


def vera_count(setting: Setting, shapes: Shapes, targets: Targets) -> int:
    """Two vectors a module, of r and of o numbers; the matrices are frozen (VeRA, arXiv 2310.11454, section 3.2)."""
    return _over(shapes, targets, lambda linear: setting.r + linear.outputs)


def tied_count(setting: Setting, shapes: Shapes, targets: Targets) -> int:
    """One A; one B for each of q, k and v; r numbers a layer and o numbers a module (Tied LoRA, arXiv 2311.09578).

    So LLaMA-2-7B has 4,595,712 at rank 256, the 4.60M of PRoLoRA's Table 2: q, k and v, which Tied LoRA takes for one
    fused projection, have one scaling vector of r numbers in common.
    """
    linears = shapes.targets(targets)
    layers = max(shapes.times(linear) for linear in linears)
    tied = setting.r * (max(linear.inputs for linear in linears) + sum(linear.outputs for linear in linears))
    return tied + layers * setting.r + _over(shapes, targets, lambda linear: linear.outputs)


def miss_count(setting: Setting, shapes: Shapes, targets: Targets) -> int:
    """One (r, o) block a module, whose rows are added to inputs in turn (MiSS, arXiv 2409.15371)."""
    return _over(shapes, targets, lambda linear: setting.r * linear.outputs)


def _over(shapes: Shapes, targets: Targets, cost: Callable[[Linear], int]) -> int:
    return sum(shapes.times(linear) * cost(linear) for linear in shapes.targets(targets))


METHODS: tuple[Method, ...] = (
    Method(
        "prolora",
        "PRoLoRA",
        "Some ranks are stored whole, the others rebuilt from one chunk that is repeated and rolled.",
        "prolora",
        count_shared,
    ),
    Method(
        "prolora-unrotated",
        "PRoLoRA unrotated",
        "PRoLoRA whose copies are not rolled, the paper's ablation of rotation.",
        "prolora",
        count_shared,
    ),
    Method(
        "prolora-unrectified",
        "PRoLoRA unrectified",
        "PRoLoRA whose chunk starts with the wider bounds of its own width, the paper's ablation of the start.",
        "prolora",
        count_shared,
    ),
    Method("clora", "CLoRA", "Every rank in the chunk, and the copies not rolled.", "prolora", count_shared),
    Method("rolora", "RoLoRA", "Every rank in the chunk, and the copies rolled.", "prolora", count_shared),
    Method(
        "prolora-dora",
        "PRoLoRA-DoRA",
        "PRoLoRA that trains the length of each row of the weight as well.",
        "prolora",
        dora_count,
        served=False,
    ),
    Method("lora", "LoRA", "The product of two thin factors of rank r.", "lora", count_shared),
    Method("rslora", "rsLoRA", "LoRA scaled by alpha / √r instead of alpha / r.", "lora", count_shared),
    Method(
        "dora",
        "DoRA",
        "LoRA that trains the length of each row of the weight as well.",
        "lora",
        dora_count,
        served=False,
    ),
    Method(
        "vera",
        "VeRA",
        "Frozen random factors in common, and two trained vectors a module. Its size hardly depends on its rank, "
        "which is 256 as in the paper wherever the budget allows.",
        "other",
        vera_count,
        served=False,
        most_rank=PAPERS_VERA_RANK,
    ),
    Method(
        "tied-lora",
        "Tied LoRA",
        "One A for q, k and v of all layers, one B for each of them, and trained vectors that tell modules apart.",
        "other",
        tied_count,
        served=False,
        modules=TIED,
    ),
    Method(
        "miss",
        "MiSS",
        "One block of r rows a module, which groups of inputs have in common.",
        "other",
        miss_count,
        served=False,
    ),
    Method(
        "hira",
        "HiRA",
        "The product of two factors of rank r, multiplied into the weight number by number.",
        "other",
        count_shared,
        served=False,
    ),
    Method(
        "gralora",
        "GraLoRA",
        "The weight cut in four blocks, each with a LoRA of half the rank.",
        "other",
        count_shared,
        served=False,
        step=2,
    ),
)
BY_NAME: dict[str, Method] = {method.name: method for method in METHODS}


def method(name: str) -> Method:
    if name not in BY_NAME:
        raise PlanError(f"There is no method called {name}. Choose {', '.join(BY_NAME)}.")
    return BY_NAME[name]


def title(name: str) -> str:
    """As a person reads it; a row of a method that is gone keeps its name."""
    return BY_NAME[name].title if name in BY_NAME else name


def family(name: str) -> Family:
    """By which methods are coloured; a method that is gone belongs to none."""
    return BY_NAME[name].family if name in BY_NAME else "other"


def is_served(name: str) -> bool:
    """Whether vLLM can answer as an adapter of this method."""
    return name in BY_NAME and BY_NAME[name].served


def count(name: str, setting: Setting, shapes: Shapes, target_modules: Targets = PROJECTIONS) -> int:
    """Parameters that the method trains on a model of these shapes."""
    return method(name).count(setting, shapes, target_modules)


def at_budget(name: str, shapes: Shapes, budget: int, target_modules: Targets = PROJECTIONS) -> Fit:
    """The setting of a method nearest to a budget, with its true count and gap.

    Raises BudgetTooSmall, naming the smallest size, where even that is more than the budget and its tolerance.
    """
    chosen = method(name)
    targets = tuple(target for target in target_modules if target in chosen.modules)
    if not shapes.targets(targets):
        raise PlanError(f"{chosen.title} adapts {', '.join(chosen.modules)} only. Add one of them to the targets.")
    facts = Facts(shapes, budget, targets)
    if name not in SHARING:
        setting = _rank_near(chosen, facts)
    elif name in ("clora", "rolora"):
        setting = _shared_near(facts)
    else:
        setting = _partly_shared_near(chosen, facts)
    parameters = chosen.count(setting, shapes, targets)
    return Fit(chosen.name, setting, targets, parameters, (parameters - budget) / budget)


def unusual(name: str, setting: Setting, shapes: Shapes, target_modules: Targets = PROJECTIONS) -> list[str]:
    """Sentences on what of a setting serves nothing: alike copies and chunks cut away whole.

    Without rotation all copies are alike on purpose, and what is cut away is there in another copy.
    """
    if name not in SHARING or name in UNROTATED:
        return []
    layout = Layout(setting)
    found = [layout.wasted(linear.inputs, linear.outputs) for linear in shapes.targets(target_modules)]
    return list(dict.fromkeys(sentence for sentences in found for sentence in sentences))


def _rank_near(chosen: Method, facts: Facts) -> Setting:
    """Counts of these methods grow by the same amount with every rank."""

    def cost(rank: int) -> int:
        return chosen.count(Setting.lora(rank), facts.shapes, facts.target_modules)

    least = cost(chosen.step)
    if least > facts.budget * (1 + facts.spread):
        raise _too_small(chosen.title, facts.budget, least)
    steps = 1 + round((facts.budget - least) / (cost(2 * chosen.step) - least))
    rank = chosen.step * max(steps, 1)
    return Setting.lora(min(rank, chosen.most_rank or rank))


def _shared_near(facts: Facts) -> Setting:
    """All ranks shared: of the settings within the tolerance that whose rank is nearest to 4 rho, else the nearest."""
    least = smallest(facts.shapes, facts.target_modules)
    if least > facts.budget * (1 + facts.spread):
        raise _too_small("adapter without unshared ranks", facts.budget, least)
    found = [setting for rate in usable_rates(facts.shapes, facts.target_modules) for setting in _by_rate(rate, facts)]
    gaps = {setting: abs(count_shared(setting, facts.shapes, facts.target_modules) - facts.budget) for setting in found}
    nearest = min(found, key=lambda setting: gaps[setting])
    within = [setting for setting in found if gaps[setting] <= facts.spread * facts.budget] or [nearest]
    return min(within, key=lambda each: (each.r % each.m != 0, abs(each.r - 4 * facts.rho), gaps[each]))


def _by_rate(rate: int, facts: Facts) -> list[Setting]:
    """The two ranks around the budget at one sharing rate, as far as their rolls are distinct and vLLM serves them."""
    cost = count_shared(Setting(1, 0, rate, rate), facts.shapes, facts.target_modules)
    below = min(max(facts.budget // cost, rate), MAX_RANK - 1)
    return [Setting(rank, 0, rate, rate) for rank in (below, below + 1) if rank >= rate]


def _partly_shared_near(chosen: Method, facts: Facts) -> Setting:
    """The planner's first choice for what the method's other parts leave of the budget."""
    one = Setting(1, 0, 1, 1)
    rest = chosen.count(one, facts.shapes, facts.target_modules) - count_shared(one, facts.shapes, facts.target_modules)
    least = rest + smallest(facts.shapes, facts.target_modules)
    if rest and least > facts.budget + facts.spread * (facts.budget - rest):  # the planner spreads what it is given
        raise _too_small(chosen.title, facts.budget, least)
    return suggest(Facts(facts.shapes, facts.budget - rest, facts.target_modules)).prolora[0].setting


def _too_small(what: str, budget: int, least: int) -> BudgetTooSmall:
    return BudgetTooSmall(
        f"A budget of {grouped(budget)} parameters is too small: the smallest {what} for this base and these modules "
        f"has {grouped(least)}. Choose at least that."
    )
