"""What the papers say of their methods, as quantities that ``scripts/check_claims.py`` measures."""

from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True)
class Claim:
    """A published statement, where it comes from, and what each measured quantity should be: ">", "<" or "=" a number."""

    statement: str
    source: str
    expected: dict[str, tuple[str, float] | None] = field(default_factory=dict[str, "tuple[str, float] | None"])
    remark: str = ""


def better(*pairs: tuple[str, str], score: str) -> dict[str, tuple[str, float] | None]:
    return {f"{score}: `{one}` − `{other}`": (">", 0.0) for one, other in pairs}


P = (0.3, 0.5, 0.7)
STEPS = (5, 10, 20, 50)
RAW, ARCHITECTURE, SINGLE, MULTI = "raw features", "second path alone", "and empty text removed", "and texts' mean removed"
TEXT_BLIND, TEXT_AWARE = (
    ("rollout", "raw_attention"),
    ("grad_eclip", "transformer_mm", "legrad", "grad_cam", "clip_surgery", "mask_clip"),
)
CLAIMS: dict[str, Claim] = {
    "opposite": Claim(
        "Plain CLIP features score the background above the object (the opposite visualisation); surgery turns it round.",
        "CLIP Surgery (2304.05653): mean score contrast -28 to -14 % for plain CLIP, +42 to +45 % after surgery",
        {f"contrast, %: {RAW}": ("<", 0.0)}
        | {f"contrast, %: {kind}": (">", 0.0) for kind in (ARCHITECTURE, SINGLE, MULTI)}
        | {f"contrast, %: {SINGLE} − {RAW}": (">", 0.0)},
        "Contrast is 100 times the mean inside the region less the mean outside, of the map scaled to 0 to 1.",
    ),
    "common": Claim(
        "Feature surgery removes what is common to all texts: maps of different texts on one image stop resembling each other.",
        "CLIP Surgery (2304.05653), redundant features",
        {f"correlation between texts: {RAW}": None, f"correlation between texts: {ARCHITECTURE}": None}
        | {f"correlation between texts: {kind} − {ARCHITECTURE}": ("<", 0.0) for kind in (SINGLE, MULTI)}
        | {f"share of positive mass off the region: {SINGLE} − {ARCHITECTURE}": ("<", 0.0)}
        | {f"share of positive mass off the region: {MULTI} − {ARCHITECTURE}": ("<", 0.0)},
        "Mean correlation over all pairs of ten phrases. With the mean over texts removed it falls towards -1/9 by "
        "construction; against the empty text nothing is fixed beforehand.",
    ),
    "mask_clip": Claim(
        "A patch's value, sent on alone, is a dense label: MaskCLIP's map is higher on the object; plain features' is not.",
        "MaskCLIP (2112.01071)",
        {"contrast, %: `mask_clip`": (">", 0.0), f"contrast, %: `mask_clip` − {RAW}": (">", 0.0)},
    ),
    "grad_eclip": Claim(
        "Grad-ECLIP localises better than raw attention, rollout, Grad-CAM, GAME and MaskCLIP.",
        "Grad-ECLIP (2502.18816), pointing game and its energy",
        {
            name: side
            for score in ("hit", "energy")
            for name, side in better(
                *(("grad_eclip", other) for other in ("raw_attention", "rollout", "grad_cam", "transformer_mm", "mask_clip")),
                score=score,
            ).items()
        },
    ),
    "one_head": Claim(
        "Grad-ECLIP recomputes attention with one head: another network, whose cosine is not the encoder's.",
        "methods.md 7.3, from the released code; the paper writes attention without heads",
        {
            "image pass, |cosine explained − cosine|: one head": (">", 0.0),
            "text pass, |cosine explained − cosine|: one head": (">", 0.0),
            "image pass, |cosine explained − cosine|: model's heads": ("=", 0.0),
            "text pass, |cosine explained − cosine|: model's heads": ("=", 0.0),
            "hit: one head − model's heads": None,
            "correlation of the two maps": None,
        },
    ),
    "game": Claim(
        "Weighting attention by its gradient (GAME) localises better than raw attention and rollout.",
        "Transformer-MM-Explainability (2103.15679)",
        better(("transformer_mm", "raw_attention"), ("transformer_mm", "rollout"), score="hit")
        | better(("transformer_mm", "raw_attention"), ("transformer_mm", "rollout"), score="average precision"),
    ),
    "rollout": Claim(
        "Rollout follows the effect of leaving inputs out more closely than raw attention does.",
        "Attention rollout (2005.00928), rank correlation with input ablation",
        {
            "rank correlation with `occlusion`: `rollout`": None,
            "rank correlation with `occlusion`: `rollout` − `raw_attention`": (">", 0.0),
        },
    ),
    "wrong_caption": Claim(
        "Rollout and raw attention do not read the text: another phrase's map is the same. Methods with a target differ.",
        "protocols.md, wrong-caption control; definitions of the methods",
        {f"correlation of own and other phrase's map: `{name}`": ("=", 1.0) for name in TEXT_BLIND}
        | {f"correlation of own and other phrase's map: `{name}`": ("<", 1.0) for name in TEXT_AWARE},
    ),
    "legrad": Claim(
        "LeGrad localises better than plain gradients, Grad-CAM, raw attention and GAME.",
        "LeGrad (2404.03214), segmentation and pointing",
        better(
            *(("legrad", other) for other in ("gradient_x_input", "grad_cam", "raw_attention", "transformer_mm")),
            score="average precision",
        ),
    ),
    "gradients": Claim(
        "Integrated gradients account for the whole difference to the baseline, and localise better than gradient x input.",
        "Integrated gradients (1703.01365)",
        {
            "|image gap|, 50 steps": None,
            "|image gap|: 50 − 10 steps": ("<", 0.0),
            "|text gap|: 50 − 10 steps": ("<", 0.0),
        }
        | better(("integrated_gradients", "gradient_x_input"), score="average precision"),
    ),
    "m2ib": Claim(
        "The information bottleneck's maps are better than Grad-CAM's and RISE's.",
        "M2IB (2312.17174), there by confidence drop, by localisation on chest films",
        better(("m2ib", "grad_cam"), ("m2ib", "rise"), score="average precision"),
    ),
    "gscore_cam": Claim(
        "Channels with the largest gradients alone (gScoreCAM) localise better than all of them (ScoreCAM).",
        "gScoreCAM (ACCV 2022)",
        {"average precision: a third of the channels − all": (">", 0.0)},
        "The published 300 channels are more than this encoder has; a third of them is tried instead.",
    ),
    "rise": Claim(
        "RISE as published is not centred: a cosine of small spread mostly weights how often chance masks show a patch.",
        "methods.md 15, from the estimator of RISE (1806.07421)",
        {
            "correlation with the masks' coverage: published": None,
            "correlation with the masks' coverage: published − centred": (">", 0.0),
            "average precision: centred − published": (">", 0.0),
        },
    ),
    "removal": Claim(
        "Leaving the object out lowers the similarity most: occlusion points at the object more often than chance.",
        "Zeiler and Fergus (1311.2901)",
        {"hit: `occlusion` − chance": (">", 0.0), "hit: `centre` − chance": None},
    ),
    "order": Claim(
        "Second-order FIxLIP predicts unseen coalitions better than first-order values, at every p.",
        "FIxLIP (2508.05430), p-faithfulness",
        {
            f"{score} at p = {p}: order 2 − order 1": (">", 0.0)
            for score in ("rank correlation", "R2")
            for p in P
        },
    ),
    "matched_p": Claim(
        "FIxLIP's p chooses which inputs are explained: nearly empty ones at 0.3, nearly full ones at 0.7.",
        "FIxLIP (2508.05430), weighted Banzhaf indices",
        {
            "R2 at p = 0.3: fitted at 0.3 − fitted at 0.7": (">", 0.0),
            "R2 at p = 0.7: fitted at 0.7 − fitted at 0.3": (">", 0.0),
        },
    ),
    "grounding": Claim(
        "Patch-token interactions ground phrases: a phrase's own tokens find its region better than another phrase's.",
        "exCLIP (2408.14153), FIxLIP (2508.05430)",
        {
            "average precision, own − other phrase's tokens: `exclip`": (">", 0.0),
            "average precision, own − other phrase's tokens: `fixlip`": (">", 0.0),
        },
        "Captions with two phrases or more.",
    ),
    "exclip": Claim(
        "exCLIP's attributions with their remainder sum to the difference of similarities; the gap shrinks with the steps.",
        "exCLIP (2408.14153); methods.md 6.1",
        {f"|gap|, {steps} steps": None for steps in STEPS}
        | {f"|gap|: {many} − {few} steps": ("<", 0.0) for few, many in pairwise(STEPS)}
        | {"|gap|: midpoint rule, 10 steps − published rule, 50": ("<", 0.0), "|difference| explained": None},
    ),
    "efficiency": Claim(
        "Shapley values share out the whole difference between the full and the empty coalition.",
        "KernelSHAP (1705.07874)",
        {"|sum of values − difference|: `shapley`": ("=", 0.0)},
    ),
}  # fmt: skip
