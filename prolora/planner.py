"""A budget becomes settings (r, u, m, n), best first with what speaks for each, and a LoRA of equal size."""

from dataclasses import dataclass

from prolora.budget import bytes_of, count, grouped, largest, short, smallest
from prolora.candidates import MAX_RANK, nearest_below, order, within
from prolora.facts import BudgetTooLarge, BudgetTooSmall, Facts
from prolora.plan import Setting

__all__ = ["MAX_RANK", "BudgetTooLarge", "BudgetTooSmall", "Facts", "Suggestion", "Suggestions", "suggest"]
CHOICES = 5


@dataclass(frozen=True)
class Suggestion:
    setting: Setting
    parameters: int
    size_bytes: int
    reason: str
    gap: float  # relative to the budget; negative: below it
    divides: bool  # m and n divide every width


@dataclass(frozen=True)
class Suggestions:
    prolora: tuple[Suggestion, ...]  # best first, never empty
    lora: Suggestion
    note: str  # what holds for all of them


def suggest(facts: Facts) -> Suggestions:
    """The best settings that keep the budget, with a reason each, and the equal-budget LoRA."""
    _refuse_the_impossible(facts)
    found, note = within(facts), _note(facts)
    if not len(found.rate):
        found = nearest_below(facts)
        note += f" Nothing lies within {100 * facts.spread:g}% of the budget, so these are the nearest below it."
    best = found.pick(order(found, facts)[:CHOICES])
    rows = zip(best.shared.tolist(), best.unshared.tolist(), best.rate.tolist(), strict=True)
    settings = [Setting(shared + unshared, unshared, rate, rate) for shared, unshared, rate in rows]
    return Suggestions(tuple(_suggestion(setting, facts) for setting in settings), _twin(facts), note)


def _refuse_the_impossible(facts: Facts) -> None:
    full = largest(facts.shapes)
    if facts.budget > full:
        raise BudgetTooLarge(
            f"A budget of {grouped(facts.budget)} parameters is more than full fine-tuning trains ({grouped(full)}). "
            "Choose a smaller one."
        )
    least = smallest(facts.shapes, facts.target_modules)
    if facts.rho < 1 or (facts.ceiling < least):
        raise BudgetTooSmall(
            f"A budget of {grouped(facts.budget)} parameters is too small: "
            f"the smallest PRoLoRA for this base has {grouped(least)}. Choose at least that."
        )


def _suggestion(setting: Setting, facts: Facts) -> Suggestion:
    parameters = count(setting, facts.shapes, facts.target_modules)
    gap = (parameters - facts.budget) / facts.budget
    divides = facts.divided_by(setting.m)
    price = facts.rho if abs(gap) <= facts.spread else parameters / facts.unit
    reason = _reason(setting, price, divides)
    return Suggestion(setting, parameters, bytes_of(parameters, facts.dtype), reason, gap, divides)


def _twin(facts: Facts) -> Suggestion:
    """The LoRA whose whole rank comes nearest; with a hard cap, the nearest below."""
    rank = facts.budget // facts.unit if facts.hard_cap else round(facts.budget / facts.unit)
    setting = Setting.lora(max(rank, 1))
    parameters = count(setting, facts.shapes, facts.target_modules)
    gap = (parameters - facts.budget) / facts.budget
    size = f"{short(parameters)} parameters, {gap:+.2%} from the budget"
    standing = "largest within the budget" if facts.hard_cap else "nearest in size"
    reason = f"LoRA of rank {setting.r} is the {standing}: {size}."
    return Suggestion(setting, parameters, bytes_of(parameters, facts.dtype), reason, gap, divides=True)


def _reason(setting: Setting, price: float, divides: bool) -> str:
    """One sentence: what this setting is, and what the paper's runs say of its kind; the price is a rank of LoRA."""
    share = setting.u / price
    if setting.u == 0:
        kind = "no rank unshared, a kind that narrowly lost to LoRA in the paper (36.82 and 36.40 against 36.89)"
    else:
        kind = f"{setting.u} of them unshared ({share:.3g} of the LoRA rank), "
        if 0.5 <= share <= 0.875:
            kind += "a kind that beat LoRA of equal size in the paper (37.53 against 36.89 at 20M parameters)"
        else:
            near = "just " if 0.5 <= round(share, 3) <= 0.875 else ""  # else the sentence would contradict itself
            kind += f"{near}outside the 0.5 to 0.875 that beat LoRA of equal size in the paper"
    fit = (
        f"m = {setting.m} divides every width"
        if divides
        else f"m = {setting.m} leaves an overhang to cut at some widths"
    )
    untried = "" if 2 <= setting.r / price <= 5 else ", and the paper tried only 2 to 4 times the LoRA rank"
    return f"Rank {setting.r} for the price of LoRA rank {price:.3g}, {kind}; {fit}{untried}."


def _note(facts: Facts) -> str:
    if facts.rho < 2:
        return (
            "Under the budget of two LoRA ranks only settings without unshared ranks exist, "
            "since one unshared rank would leave too little for a chunk with distinct rolls."
        )
    buys = f"This budget buys a LoRA of rank {round(facts.rho, 3):g}"
    if 4 * facts.rho > MAX_RANK:
        return f"{buys}; PRoLoRA's settings end at rank {MAX_RANK}, the highest that vLLM serves."
    return f"{buys}; sharing buys about four times that rank for the same size."
