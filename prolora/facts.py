"""What a plan is made for: a base, its modules, a budget and how closely it is to be kept."""

from dataclasses import dataclass

from prolora.base_models import Shapes
from prolora.budget import bytes_of, check_targets
from prolora.errors import PlanError

NARROW = 2048  # under this hidden size, widths that m does not divide miss by 0.2 to 0.6 %


class BudgetTooSmall(PlanError):  # noqa: N818
    """No setting is that small."""


class BudgetTooLarge(PlanError):  # noqa: N818
    """Full fine-tuning trains fewer parameters."""


@dataclass(frozen=True)
class Facts:
    shapes: Shapes
    budget: int  # parameters
    target_modules: tuple[str, ...] = ()  # none named: all that the base has
    tolerance: float | None = None  # relative; None: 0.1 %, or 1 % for narrow models
    divisible: bool = False  # only sharing rates that divide every width
    dtype: str = "float32"
    hard_cap: bool = False  # not one parameter above the budget

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise PlanError(f"A budget must be at least 1 parameter, not {self.budget}.")
        if not 0 <= self.spread <= 0.05:
            raise PlanError(f"The tolerance must lie between 0 and 5%, not {100 * self.spread:g}%.")
        if not self.target_modules:
            object.__setattr__(self, "target_modules", self.shapes.modules)
        check_targets(self.shapes, self.target_modules)
        bytes_of(self.budget, self.dtype)  # refuses an unknown dtype

    @property
    def spread(self) -> float:
        if self.tolerance is not None:
            return self.tolerance
        return 0.01 if self.shapes.hidden < NARROW else 0.001

    @property
    def unit(self) -> int:
        return self.shapes.lora_unit(self.target_modules)

    @property
    def rho(self) -> float:
        """The rank of the LoRA of equal budget; whole when that LoRA lies within the tolerance and the cap."""
        whole = round(self.budget / self.unit)
        near = abs(whole * self.unit - self.budget) <= self.spread * self.budget
        return whole if near and whole * self.unit <= self.ceiling else self.budget / self.unit

    @property
    def ceiling(self) -> int:
        """The most parameters that a setting may have."""
        return self.budget if self.hard_cap else self.budget + int(self.budget * self.spread)

    def divided_by(self, rate: int) -> bool:
        """The rate divides every width."""
        return all(each.inputs % rate == 0 == each.outputs % rate for each in self.shapes.targets(self.target_modules))
