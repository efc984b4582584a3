"""A base and a budget become settings to choose from, beside the LoRA of equal size."""

from dataclasses import dataclass

from prolora.base_models import CATALOGUE, STUDIO, BaseModel, TrainingDefaults, trainable
from prolora.budget import adapters_in, bytes_of, count, grouped, is_capped, parse_budget
from prolora.errors import PlanError
from prolora.methods import METHODS, Fit, at_budget
from prolora.methods import method as method_named
from prolora.plan import Setting
from prolora.planner import Facts, Suggestion, suggest


@dataclass(frozen=True)
class Offer:
    """What a budget buys on a base."""

    base: BaseModel
    budget: int
    rho: float  # rank of the LoRA of this budget
    choices: tuple[Suggestion, ...]
    lora: Suggestion
    note: str

    def choice(self, key: str) -> Suggestion:
        """The suggestion of this key, or else the best."""
        return next((each for each in self.cards(key) if key_of(each.setting) == key), self.choices[0])

    def cards(self, key: str) -> tuple[Suggestion, ...]:
        """The suggestions, and one of another setting that costs exactly the budget, such as that of a copied job."""
        own = None if any(key_of(each.setting) == key for each in self.choices) else _setting(key)
        if own is None or own.u == own.r or count(own, self.base.shapes) != self.budget:
            return self.choices
        divides = Facts(self.base.shapes, self.budget).divided_by(own.m)
        reason = "This is the setting of the job that is copied; it costs exactly the budget."
        return (*self.choices, Suggestion(own, self.budget, bytes_of(self.budget), reason, 0.0, divides))


@dataclass(frozen=True)
class Base:
    name: str
    title: str
    parameters: int
    note: str


def bases() -> list[Base]:
    """Those of the catalogue that the studio can train and serve."""
    return [_base(each) for each in CATALOGUE if each.architecture in STUDIO]


def base(name: str) -> Base:
    """A base of the catalogue or a folder; raises when it cannot be trained."""
    return _base(trainable(name))


def defaults(name: str) -> TrainingDefaults:
    return trainable(name).defaults


def offer(base_name: str, budget: str) -> Offer:
    found = trainable(base_name)
    facts = Facts(found.shapes, parse_budget(budget, found.shapes), hard_cap=is_capped(budget))
    made = suggest(facts)
    return Offer(found, facts.budget, facts.rho, made.prolora, made.lora, made.note)


PEERS = tuple(each.name for each in METHODS if each.name not in ("prolora", "lora"))
OF_ITS_SETTING = ("prolora", "prolora-unrotated", "prolora-unrectified")  # an ablation differs in one thing alone


def fit_of(made: Offer, key: str, method: str) -> Fit:
    """What a method trains at the budget of an offer, of which the suggestion `key` is chosen."""
    if method == "lora" or method in OF_ITS_SETTING:
        chosen = made.lora if method == "lora" else made.choice(key)
        return Fit(method_named(method).name, chosen.setting, made.base.shapes.modules, chosen.parameters, chosen.gap)
    return at_budget(method, made.base.shapes, made.budget, made.base.shapes.modules)


def fit_words(made: Offer, key: str, method: str) -> str:
    """The same in words, or why the method cannot be had at this budget."""
    try:
        fit = fit_of(made, key, method)
    except PlanError as error:
        return str(error)
    gap = f"{fit.gap:+.1%}".replace("-", "−")
    return f"{fit.setting}, {grouped(fit.parameters)} parameters, {gap}"


def key_of(setting: Setting) -> str:
    return f"{setting.r},{setting.u},{setting.m},{setting.n}"


def _setting(key: str) -> Setting | None:
    """What `key_of` has written; None where it says nothing."""
    numbers = key.split(",") if key else []
    return Setting(*map(int, numbers)) if len(numbers) == 4 and all(map(str.isdecimal, numbers)) else None


def fits_in_20_gib(suggestion: Suggestion) -> int:
    return adapters_in(suggestion.size_bytes)


def _base(found: BaseModel) -> Base:
    return Base(found.name, found.title, found.shapes.base_parameters, _note(found))


def _note(base: BaseModel) -> str:
    if base.local:
        return "On this machine."
    token = "; the hub asks to accept the licence, and for a token that may read it" if base.gated else ""
    return f"{base.licence}. The first training fetches {base.source} unless it is here{token}."
