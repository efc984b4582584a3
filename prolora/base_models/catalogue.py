"""CATALOGUE: the usual base models with their true shapes, their licences, and what trains well on them."""

from dataclasses import dataclass
from pathlib import Path

from prolora.base_models.architectures import ARCHITECTURES, Config
from prolora.base_models.shapes import Shapes
from prolora.plan import Quantization, Setting

DEMO = Path(__file__).parents[2] / "static" / "demo-base"
STUDIO = ("LlamaForCausalLM",)  # what the studio trains and serves


@dataclass(frozen=True)
class TrainingDefaults:
    learning_rate: float
    epochs: float
    batch_size: int
    max_length: int
    alpha: float
    dropout: float
    lora_rank: int
    quantization: Quantization
    alpha_per_rank: bool = False  # alpha is for each rank: a run and its twin then scale alike

    def alpha_of(self, setting: Setting) -> float:
        return self.alpha * setting.r if self.alpha_per_rank else self.alpha


@dataclass(frozen=True)
class BaseModel:
    name: str  # as a plan names it
    title: str  # as a person reads it
    source: str  # a folder, or a name on the hub
    shapes: Shapes
    defaults: TrainingDefaults
    local: bool = False  # `source` is a folder on this machine
    architecture: str = "LlamaForCausalLM"
    licence: str = ""
    gated: bool = False  # the hub asks to accept the licence before it gives the weights


PAPER = TrainingDefaults(
    learning_rate=2e-4, epochs=3, batch_size=16, max_length=512, alpha=16, dropout=0.1, lora_rank=8, quantization="nf4"
)
# A model of few layers and narrow ones needs larger steps to learn anything in minutes.
SMALL = TrainingDefaults(
    learning_rate=4e-3,
    epochs=6,
    batch_size=8,
    max_length=256,
    alpha=2,
    alpha_per_rank=True,
    dropout=0.0,
    lora_rank=8,
    quantization="nf4",
)
SMALL_UNDER = 1024  # hidden size


@dataclass(frozen=True)
class Family:
    """What the bases of one maker's series have in common."""

    architecture: str
    hub: str  # with {} for the size, {1} for it in small letters
    title: str
    licence: str
    vocabulary: int
    tied: bool = False
    gated: bool = False

    def base(self, size: str, widths: tuple[int, int, int, int, int], **other: int) -> BaseModel:
        """`widths` are the hidden and the inner one, and the numbers of layers, heads and key-value heads."""
        fields = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
        config = dict(zip(fields, widths, strict=True)) | {"vocab_size": self.vocabulary} | other
        source = self.hub.format(size, size.lower())
        tied: dict[str, object] = {"tie_word_embeddings": self.tied}
        shapes = ARCHITECTURES[self.architecture](Config(tied | config, source))
        return BaseModel(
            name=f"{self.title} {size}".lower().replace(" ", "-"),
            title=f"{self.title} {size}",
            source=source,
            shapes=shapes,
            defaults=SMALL if shapes.hidden < SMALL_UNDER else PAPER,
            architecture=self.architecture,
            licence=self.licence,
            gated=self.gated,
        )


APACHE = "Apache 2.0"
LLAMA_2 = Family(
    "LlamaForCausalLM", "meta-llama/Llama-2-{1}-hf", "LLaMA-2", "Llama 2 Community License", 32000, gated=True
)
LLAMA_31 = Family(
    "LlamaForCausalLM", "meta-llama/Llama-3.1-{}", "Llama-3.1", "Llama 3.1 Community License", 128256, gated=True
)
LLAMA_32 = Family(
    "LlamaForCausalLM",
    "meta-llama/Llama-3.2-{}",
    "Llama-3.2",
    "Llama 3.2 Community License",
    128256,
    tied=True,
    gated=True,
)
MISTRAL = Family("MistralForCausalLM", "mistralai/Mistral-{}", "Mistral", APACHE, 32768)
QWEN_25_TIED = Family("Qwen2ForCausalLM", "Qwen/Qwen2.5-{}", "Qwen2.5", APACHE, 151936, tied=True)
QWEN_25_RESEARCH = Family("Qwen2ForCausalLM", "Qwen/Qwen2.5-{}", "Qwen2.5", "Qwen Research License", 151936, tied=True)
QWEN_25 = Family("Qwen2ForCausalLM", "Qwen/Qwen2.5-{}", "Qwen2.5", APACHE, 152064)
QWEN_25_LICENCE = Family("Qwen2ForCausalLM", "Qwen/Qwen2.5-{}", "Qwen2.5", "Qwen License", 152064)
QWEN_3_TIED = Family("Qwen3ForCausalLM", "Qwen/Qwen3-{}", "Qwen3", APACHE, 151936, tied=True)
QWEN_3 = Family("Qwen3ForCausalLM", "Qwen/Qwen3-{}", "Qwen3", APACHE, 151936)
GEMMA_2 = Family("Gemma2ForCausalLM", "google/gemma-2-{1}", "Gemma-2", "Gemma Terms of Use", 256000, True, gated=True)
PHI_3 = Family("Phi3ForCausalLM", "microsoft/Phi-3-{}-4k-instruct", "Phi-3", "MIT", 32064)
SMOLLM_2 = Family("LlamaForCausalLM", "HuggingFaceTB/SmolLM2-{}", "SmolLM2", APACHE, 49152, tied=True)
TINYLLAMA = Family("LlamaForCausalLM", "TinyLlama/TinyLlama_v1.1", "TinyLlama", APACHE, 32000)
OLMO_2 = Family("Olmo2ForCausalLM", "allenai/OLMo-2-{}", "OLMo-2", APACHE, 100352)

DEMO_FIELDS = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 1024,
    "tie_word_embeddings": True,
}
DEMO_SHAPES = ARCHITECTURES["LlamaForCausalLM"](Config(DEMO_FIELDS, str(DEMO)))

CATALOGUE = (
    BaseModel(
        "demo", "Demo shop support (3.4M)", str(DEMO), DEMO_SHAPES, SMALL, local=True, licence="the studio's own"
    ),
    LLAMA_2.base("7B", (4096, 11008, 32, 32, 32)),
    LLAMA_2.base("13B", (5120, 13824, 40, 40, 40)),
    LLAMA_2.base("70B", (8192, 28672, 80, 64, 8)),
    LLAMA_31.base("8B", (4096, 14336, 32, 32, 8)),
    LLAMA_31.base("70B", (8192, 28672, 80, 64, 8)),
    LLAMA_32.base("1B", (2048, 8192, 16, 32, 8)),
    LLAMA_32.base("3B", (3072, 8192, 28, 24, 8)),
    MISTRAL.base("7B-v0.3", (4096, 14336, 32, 32, 8)),
    QWEN_25_TIED.base("0.5B", (896, 4864, 24, 14, 2)),
    QWEN_25_TIED.base("1.5B", (1536, 8960, 28, 12, 2)),
    QWEN_25_RESEARCH.base("3B", (2048, 11008, 36, 16, 2)),
    QWEN_25.base("7B", (3584, 18944, 28, 28, 4)),
    QWEN_25.base("14B", (5120, 13824, 48, 40, 8)),
    QWEN_25.base("32B", (5120, 27648, 64, 40, 8)),
    QWEN_25_LICENCE.base("72B", (8192, 29568, 80, 64, 8)),
    QWEN_3_TIED.base("0.6B", (1024, 3072, 28, 16, 8), head_dim=128),
    QWEN_3_TIED.base("1.7B", (2048, 6144, 28, 16, 8), head_dim=128),
    QWEN_3_TIED.base("4B", (2560, 9728, 36, 32, 8), head_dim=128),
    QWEN_3.base("8B", (4096, 12288, 36, 32, 8), head_dim=128),
    QWEN_3.base("14B", (5120, 17408, 40, 40, 8), head_dim=128),
    QWEN_3.base("32B", (5120, 25600, 64, 64, 8), head_dim=128),
    GEMMA_2.base("2B", (2304, 9216, 26, 8, 4), head_dim=256),
    GEMMA_2.base("9B", (3584, 14336, 42, 16, 8), head_dim=256),
    PHI_3.base("mini", (3072, 8192, 32, 32, 32)),
    SMOLLM_2.base("135M", (576, 1536, 30, 9, 3)),
    SMOLLM_2.base("360M", (960, 2560, 32, 15, 5)),
    SMOLLM_2.base("1.7B", (2048, 8192, 24, 32, 32)),
    TINYLLAMA.base("1.1B", (2048, 5632, 22, 32, 4)),
    OLMO_2.base("0425-1B", (2048, 8192, 16, 16, 16)),
    OLMO_2.base("1124-7B", (4096, 11008, 32, 32, 32)),
    OLMO_2.base("1124-13B", (5120, 13824, 40, 40, 40)),
)
