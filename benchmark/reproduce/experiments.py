"""Which published tables can be measured again, and how: declarations only.

An identity is computed at once; a table is read from a store that ``benchmark run`` filled. The published label of a method
is given the label that the store uses, the published metric a task and a metric; what has neither is not claimed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmark.errors import InvalidInput
from benchmark.types import Registry

Kind = Literal["identities", "golden", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Where a store keeps a published metric: ``scale`` turns the task's unit into the published one."""

    task: str
    metric: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One table to reproduce.

    ``published_model`` is the model's name in ``targets.csv`` where it is not ``model``. ``methods`` and ``metrics`` lead from
    published names to the store's; ``datasets`` maps a published data set to the stratum of the task it stands for (empty:
    all of the task). ``tolerance`` is in the published unit: sampling noise of the number of samples, and the differences of
    protocol that ``what`` names.
    """

    id: str
    paper: str
    tables: tuple[str, ...]
    what: str
    kind: Kind = "table"
    model: str = ""
    published_model: str = ""
    methods: Mapping[str, str] = field(default_factory=dict[str, str])
    metrics: Mapping[str, Measure] = field(default_factory=dict[str, Measure])
    datasets: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    limit: int | None = None
    tolerance: float
    needs: str

    def __post_init__(self) -> None:
        if self.kind == "table" and not (self.model and self.methods and self.metrics):
            raise InvalidInput(f"{self.id} reads a store: it needs a model, methods and metrics")
        EXPERIMENTS.add(self.id, self)

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(measure.task for measure in self.metrics.values()))

    def command(self, data_dir: str = "FOLDER") -> str:
        """Return the command that fills a store with what is compared."""
        methods = ",".join(dict.fromkeys(self.methods.values()))
        size = f" --limit {self.limit}" if self.limit else " --tier full"
        return f"benchmark run -m '{methods}' -t {','.join(self.tasks)} --model {self.model}{size} --data-dir {data_dir}"


EXPERIMENTS: Registry[Experiment] = Registry("experiment")

Experiment(
    id="identities",
    paper="protocols.md",
    tables=("1.4 identities", "1.3 identities", "1.7 identities", "1.8 identities", "5.2 identities"),
    what="What the metrics must give whatever the data: caps, chances and perfect scores, computed now on simulated maps.",
    kind="identities",
    tolerance=0.003,  # three standard errors of the simulated means, and the rounding of the printed chances
    needs="nothing",
)
Experiment(
    id="golden",
    paper="recorded outputs of the published code",
    tables=(),
    what="Methods against recorded outputs of their authors' code on a small CLIP: largest deviation over largest value.",
    kind="golden",
    tolerance=1e-4,
    needs="the folder of recorded outputs, with --golden FOLDER",
)
_PGR_K = {f"imagenet mosaics k={k}": {"k": str(k)} for k in (1, 2, 3, 4)}
Experiment(
    id="fixlip-pgr",
    paper="FIxLIP 2508.05430",
    tables=("PGR",),
    what="Grid pointing on ImageNet mosaics with FIxLIP's labels. Theirs scores every method on a mosaic of JPEGs; the game of "
    "the first-order methods replaces token ids.",
    model="openai/clip-vit-base-patch32",
    methods={
        "transformer_mm": "transformer_mm",
        "grad_eclip": "grad_eclip",
        "shapley": "shapley",
        "exclip": "exclip",
        "fixlip (Banzhaf p=.7)": "fixlip[p=0.7]",
    },
    metrics={"mass_ratio_correct": Measure(task="imagenet_mosaics_original-grid", metric="pgr_joint")},
    datasets=_PGR_K,
    tolerance=0.03,
    needs="CLIP ViT-B/32 and a folder of the ImageNet validation images of the ten classes",
)
Experiment(
    id="metagame-pgr",
    paper="METAGAME 2605.06295",
    tables=("2",),
    what="Grid pointing on ImageNet mosaics with METAGAME's labels; token scores do not count.",
    model="openai/clip-vit-base-patch16",
    methods={"attention (GAME-type)": "transformer_mm", "grad_eclip": "grad_eclip"},
    metrics={"mass_ratio_correct": Measure(task="imagenet_mosaics-grid", metric="pgr_joint")},
    datasets={f"imagenet mosaics, METAGAME labels k={k}": {"k": str(k)} for k in (1, 2, 3, 4)},
    tolerance=0.03,
    needs="CLIP ViT-B/16 and a folder of the ImageNet validation images of the ten classes",
)
Experiment(
    id="fixlip-faithfulness",
    paper="FIxLIP 2508.05430",
    tables=("p-faithfulness",),
    what="Spearman correlation of surrogate and game over joint coalitions, p = .5; 'about .5' and 'to 1' are known.",
    model="openai/clip-vit-base-patch32",
    methods={"first order": "shapley", "fixlip": "fixlip"},
    metrics={"faithfulness_spearman": Measure(task="coco-interactions", metric="faithfulness_spearman")},
    limit=200,
    tolerance=0.15,
    needs="CLIP ViT-B/32 and COCO captions with images",
)
Experiment(
    id="coco-localisation",
    paper="mohsin651/clip-sam-research",
    tables=("COCO localisation",),
    what="Pointing on COCO categories. Theirs reads 500 images x 2 categories on pixels, the task phrases on patches.",
    model="openai/clip-vit-base-patch16",
    methods={"grad_eclip": "grad_eclip", "clip_surgery": "clip_surgery"},
    metrics={
        "pointing_hit": Measure(task="coco-pointing", metric="pointing_hit"),
        "pointing_energy": Measure(task="coco-pointing", metric="pointing_energy"),
        "pixel_average_precision": Measure(task="coco-pointing", metric="average_precision"),
    },
    limit=1000,
    tolerance=0.08,
    needs="CLIP ViT-B/16 and COCO val2017 with instances",
)
Experiment(
    id="nib-conceptual-captions",
    paper="NIB 2502.14889 (repository)",
    tables=("README",),
    what="Drop and increase of the similarity under the map. Both depend on how a map is scaled; two sources disagree by a "
    "factor of three on some methods, so that M2IB alone is a stable anchor.",
    model="openai/clip-vit-base-patch32",
    methods={"m2ib": "m2ib", "rise": "rise", "grad_cam": "grad_cam", "transformer_mm": "transformer_mm"},
    metrics={
        f"{side} {kind}": Measure(task="conceptual_captions-confidence", metric=f"{kind}_{side}")
        for side in ("image", "text")
        for kind in ("drop", "increase")
    },
    datasets={"Conceptual Captions": {}},
    limit=500,
    tolerance=2.0,
    needs="CLIP ViT-B/32 and Conceptual Captions, whose links rot, so that the list differs",
)
Experiment(
    id="legrad-segmentation",
    paper="LeGrad 2404.03214",
    tables=("segmentation",),
    what="Mean IoU and pixel accuracy on ImageNet-Segmentation, per image here and over the data set there.",
    model="open_clip:ViT-B-16/laion2b_s34b_b88k",
    published_model="CLIP ViT-B/16",
    methods={"legrad": "legrad", "transformer_mm": "transformer_mm", "rollout": "rollout"},
    metrics={
        "mIoU %": Measure(task="imagenet_segmentation-segmentation", metric="mean_iou", scale=100),
        "pixel accuracy %": Measure(task="imagenet_segmentation-segmentation", metric="pixel_accuracy", scale=100),
    },
    datasets={"ImageNet-Segmentation": {}},
    limit=500,
    tolerance=5.0,
    needs="OpenCLIP ViT-B/16 and gtsegs_ijcv.mat",
)
