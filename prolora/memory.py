"""The memory that training takes, as a formula: what is held throughout, and what a step adds at its highest point.

Numbers of tensors are those that autograd saves of a Llama's layer under autocast to bfloat16, counted in
tests/prolora/test_memory.py; bench/memory.py measures how far the sum lies from real steps. All sizes are bytes. T is
the number of tokens in a batch, h the hidden width, i the inner one of the feed-forward network, q and k the widths of
queries and of keys. The layers of PRoLoRA are ours; those of all other methods are PEFT's, which save more.
"""

from dataclasses import dataclass
from typing import Literal

from prolora.base_models import Linear, Shapes
from prolora.errors import PlanError
from prolora.plan import PROJECTIONS, SHARING, MethodName, Quantization

Attention = Literal["eager", "sdpa"]
Kind = Literal["cuda", "cpu"]  # of device
BF16, FP32 = 2, 4
SHORT = 512  # tokens
OURS = tuple(name for name in SHARING if name != "prolora-dora")  # whose layers keep next to nothing
BLOCK, GROUP = 64, 256  # NF4: weights under one scale of a byte, scales under one number of four bytes
TABLES = 4 * (16 + 256 + 1)  # of each NF4 layer: the codes of weights and of scales, and the scales' offset


@dataclass(frozen=True)
class Training:
    """What of a run its memory depends on, besides the base and the adapter."""

    batch: int  # rows
    length: int  # tokens a row
    quantization: Quantization = "nf4"
    attention: Attention = "sdpa"
    checkpointing: bool = False  # of gradients: layers are computed again in the backward pass
    dropout: float = 0.1
    method: MethodName = "prolora"
    device: Kind = "cuda"

    def __post_init__(self) -> None:
        for name in ("batch", "length"):
            if getattr(self, name) < 1:
                raise PlanError(f"The {name} must be at least 1, not {getattr(self, name)}.")

    @property
    def tokens(self) -> int:
        return self.batch * self.length


@dataclass(frozen=True)
class Memory:
    weights: int  # of the frozen base
    adapter: int  # float32
    gradients: int  # float32, one a trained parameter
    optimizer: int  # AdamW: two float32 numbers a trained parameter
    activations: int  # what the forward pass leaves for the backward pass
    logits: int  # what the loss adds at the turn
    working: int  # what the backward pass of one layer adds

    @property
    def total(self) -> int:
        """The highest point: logits are gone before the layers' backward passes begin."""
        held = self.weights + self.adapter + self.gradients + self.optimizer
        return held + self.activations + max(self.logits, self.working)


def attention_on(device: Kind, max_length: int) -> Attention:
    """On a CPU the backward pass of torch's fused attention takes a third of a step; short rows need no fusing."""
    return "eager" if device == "cpu" and max_length <= SHORT else "sdpa"


def knows(shapes: Shapes) -> bool:
    """The base has the seven projections, once a layer."""
    return set(shapes.modules) == set(PROJECTIONS) and all(each.count is None for each in shapes.linears)


def estimate(
    shapes: Shapes, parameters: int, rank: int, training: Training, target_modules: tuple[str, ...] | None = None
) -> Memory:
    """The memory of training an adapter of so many parameters and this rank.

    Raises PlanError for a base whose layers are not those of the formula: seven projections, once a layer.
    """
    if not knows(shapes):
        raise PlanError("The memory of training is known for bases with seven projections in every layer only.")
    layer = _saved_by_a_layer(shapes, rank, training, shapes.targets(target_modules))
    saved, working = layer * shapes.layers, _working(shapes, training)
    if training.checkpointing:  # each layer's input, and one layer at a time
        saved, working = BF16 * training.tokens * shapes.hidden * shapes.layers, working + layer
    return Memory(
        weights=weights(shapes, training.quantization),
        adapter=FP32 * parameters,
        gradients=FP32 * parameters,
        optimizer=2 * FP32 * parameters,
        activations=saved,
        logits=_logits(shapes, training),
        working=working,
    )


def weights(shapes: Shapes, quantization: Quantization) -> int:
    """Half a byte a weight of a linear layer in NF4, a byte a block of 64 and four bytes a group of 256 blocks.

    Embeddings, the output head and norms are bfloat16, as all weights are without quantisation.
    """
    if quantization == "none":
        return BF16 * shapes.base_parameters
    packed = sum(shapes.times(each) * _nf4(each.weights) for each in shapes.linears)
    rest = shapes.base_parameters - sum(shapes.times(each) * each.weights for each in shapes.linears)
    return packed + BF16 * rest


def _nf4(weights: int) -> int:
    blocks = -(-weights // BLOCK)
    return -(-weights // 2) + blocks + 4 * -(-blocks // GROUP) + TABLES


def _saved_by_a_layer(shapes: Shapes, rank: int, training: Training, targets: tuple[Linear, ...]) -> int:
    """T (8h + 6i), attention, and what adapters save.

    8h: the inputs of two norms in float32, to which those of other norms come. 6i: the gate, its activation and the
    other way up in bfloat16. Adapters: r numbers in bfloat16 a module (twice with GraLoRA), its output
    twice with DoRA, and its input, which modules share in our layers and nowhere else.
    """
    numbers = FP32 * (2 * shapes.hidden + shapes.normed) + 3 * BF16 * _width(shapes, "down_proj")
    numbers += BF16 * _width(shapes, "o_proj") * (training.attention == "sdpa")  # which keeps its output
    numbers += BF16 * rank * len(targets) * (1 + (training.method == "gralora"))
    if training.method in ("dora", "prolora-dora"):
        numbers += 2 * BF16 * sum(each.outputs for each in targets)
    copies = 0
    if training.method not in OURS:
        copies = sum(_copies(each, rank, training) for each in targets)
    if training.method in OURS or (training.method == "prolora-dora" and not training.dropout):
        numbers += _shared_inputs(shapes, training, targets)
    else:
        numbers += sum(each.inputs for each in targets) * (BF16 + _mask(training))
    return training.tokens * numbers + copies + _attention(shapes, training)


def _shared_inputs(shapes: Shapes, training: Training, targets: tuple[Linear, ...]) -> int:
    """Each input once in bfloat16 (queries, keys and values have one, gate and up another; fused attention has that
    of o_proj already), and under dropout a mask of a byte an input number.
    """
    names = {each.name for each in targets}
    numbers = shapes.hidden * (bool(names & {"q_proj", "k_proj", "v_proj"}) + bool(names & {"gate_proj", "up_proj"}))
    numbers += _width(shapes, "down_proj") * ("down_proj" in names)
    numbers += _width(shapes, "o_proj") * ("o_proj" in names and training.attention == "eager")
    return BF16 * numbers + sum(each.inputs for each in targets) * (training.dropout > 0)


def _mask(training: Training) -> int:
    """Of PEFT's dropout: a card keeps a byte, a CPU a number of the type that is dropped out, which PEFT widens."""
    if not training.dropout or training.device == "cuda":
        return int(training.dropout > 0)
    return BF16 if training.method == "prolora-dora" else FP32


def _copies(linear: Linear, rank: int, training: Training) -> int:
    """Autocast's factors in bfloat16, and weights that are unpacked and kept: HiRA multiplies them, DoRA measures them
    with its factors multiplied anew.
    """
    factors, weights = rank * (linear.inputs + linear.outputs), 0
    if training.method == "hira":
        weights = linear.weights * (1 + (training.quantization == "nf4"))
    elif training.method == "dora":
        weights = linear.weights * (1 + (training.dropout > 0)) + factors + rank * linear.inputs
    return BF16 * (factors + weights)


def _attention(shapes: Shapes, training: Training) -> int:
    """Eager: the scores in float32 and in bfloat16, and queries, keys and values, the last two for each query head.

    Fused: queries, keys and values as they are, and a float32 number a row and head.
    """
    query = _width(shapes, "o_proj")
    if training.attention == "eager":
        scores = training.batch * shapes.heads * training.length**2
        return (FP32 + BF16) * scores + 3 * BF16 * training.tokens * query
    key = next(each.outputs for each in shapes.linears if each.name == "k_proj")
    return training.tokens * (BF16 * (query + 2 * key) + FP32 * shapes.heads)


def _logits(shapes: Shapes, training: Training) -> int:
    """Three float32 numbers a token and word: the log-probabilities, their gradient, and that of the logits."""
    return 3 * FP32 * training.tokens * shapes.vocabulary


def _working(shapes: Shapes, training: Training) -> int:
    """8Ti and an unpacked weight, or in eager attention two float32 numbers a score, whichever is larger.

    8Ti: of down_proj's input the gradient's two parts, the mask and the product with it, in bfloat16. The two numbers
    a score are its gradient before and after the softmax.
    """
    widest = max(each.weights for each in shapes.linears)
    feeding = 4 * BF16 * training.tokens * _width(shapes, "down_proj") + BF16 * widest
    scores = training.batch * shapes.heads * training.length**2 if training.attention == "eager" else 0
    return max(feeding, 2 * FP32 * scores)


def _width(shapes: Shapes, name: str) -> int:
    """The inputs of the layers of this name."""
    return next(each.inputs for each in shapes.linears if each.name == name)
