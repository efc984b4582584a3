"""What the planner knows of a base model: the widths of its linear layers and how often each stands in it."""

from dataclasses import dataclass

MOST = 10**15  # more parameters than any model has, and few enough for the planner's 64 bits


@dataclass(frozen=True)
class Linear:
    """One kind of linear layer: modules of one name and of the same widths."""

    name: str
    inputs: int
    outputs: int
    count: int | None = None  # in the whole model; None: once a layer

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Shapes:
    layers: int
    hidden: int
    linears: tuple[Linear, ...]  # all that an adapter can reach, without the output head
    base_parameters: int  # of the whole model
    vocabulary: int = 0
    heads: int = 1  # of queries
    note: str = ""  # what of the model no adapter of linear layers reaches
    normed: int = 0  # numbers a token that the norms of a layer take, besides two of the hidden width

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of its linear layers, each once."""
        return tuple(dict.fromkeys(linear.name for linear in self.linears))

    def targets(self, target_modules: tuple[str, ...] | None = None) -> tuple[Linear, ...]:
        """The linear layers of these names; None is all of them."""
        return tuple(each for each in self.linears if target_modules is None or each.name in target_modules)

    def times(self, linear: Linear) -> int:
        """How many modules of this kind the whole model has."""
        return self.layers if linear.count is None else linear.count

    @property
    def countable(self) -> bool:
        return max(self.base_parameters, self.lora_unit()) <= MOST

    def lora_unit(self, target_modules: tuple[str, ...] | None = None) -> int:
        """What one rank of LoRA costs over all modules: the sum of h + o."""
        return sum(self.times(each) * (each.inputs + each.outputs) for each in self.targets(target_modules))
