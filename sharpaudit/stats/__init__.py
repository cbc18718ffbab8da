"""How sure are we? Intervals, paired tests, rank correlations and corrections for asking many questions.

Thin over scipy, which is imported inside the functions because it would double the start-up time of the command line.
Every function refuses non-finite input with a ValueError that names it: an unmeasured number is not averaged here.

- `proportions`: Wilson and Clopper-Pearson intervals, Newcombe's for a difference
- `means`: Student t intervals, from samples, from a mean and its standard error, from a table of draws by images
- `resampling`: one shared set of bootstrap resamples for every metric of an audit; BCa intervals; paired differences
- `seeds`: of the random choices of a probe
- `spacing`: which examples stand for a set
- `paired`: exact McNemar, Wilcoxon signed rank
- `ranks`: Kendall's tau-b and Spearman's rho, pooled and within conditions
- `multiplicity`: Holm and Benjamini-Yekutieli adjusted p-values
"""

from sharpaudit.stats.means import crossed_interval, freedom, log_interval, t_interval, t_interval_of
from sharpaudit.stats.multiplicity import benjamini_yekutieli, holm
from sharpaudit.stats.paired import mcnemar, wilcoxon
from sharpaudit.stats.proportions import clopper_pearson, newcombe, wilson
from sharpaudit.stats.ranks import MIN_MODELS, RankCorrelation, kendall, spearman, within_condition
from sharpaudit.stats.resampling import (
    Estimate,
    Resamples,
    Statistic,
    absolute_bootstrap,
    bootstrap,
    first_mean,
    paired_bootstrap,
)
from sharpaudit.stats.seeds import seed_for
from sharpaudit.stats.spacing import evenly_spaced

__all__ = [
    "MIN_MODELS",
    "Estimate",
    "RankCorrelation",
    "Resamples",
    "Statistic",
    "absolute_bootstrap",
    "benjamini_yekutieli",
    "bootstrap",
    "clopper_pearson",
    "crossed_interval",
    "evenly_spaced",
    "first_mean",
    "freedom",
    "holm",
    "kendall",
    "log_interval",
    "mcnemar",
    "newcombe",
    "paired_bootstrap",
    "seed_for",
    "spearman",
    "t_interval",
    "t_interval_of",
    "wilcoxon",
    "wilson",
    "within_condition",
]
