"""GPT-3's quality classifier: hashed words, logistic regression, Pareto keep rule.

Brown et al. 2020, App. A: trusted text against the raw crawl, keep a document where
`pareto(9) > 1 - score`. Two changes make it work where most of the crawl is good text, like the
reference: scores are cross-fitted (no page is scored by a model that saw it as a negative), and
divided by the score that 90 % of the reference reaches (learning from positive and unlabelled
text, Elkan & Noto 2008), so that a page like the reference is kept for sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regrow.corpus.settings import QualitySettings
from regrow.seeds import pyrandom, rng

FEATURES = 1 << 18
STRENGTH = 0.3  # inverse regularisation; chosen on a crawl of known truth
REFERENCE_KEPT = 0.10  # quantile of reference scores that counts as 1


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores in [0, 1] of the texts, and what the rule would keep of the reference unseen."""

    scores: np.ndarray
    calibration: float
    reference_kept: float


def _features(texts: Sequence[str], characters: int) -> Any:
    """Which hashed words and signs a text holds, at unit length: sparse [texts, FEATURES]."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        n_features=FEATURES, alternate_sign=False, norm="l2", binary=True,
        token_pattern=r"\w+|[^\w\s]", dtype=np.float32,
    )  # fmt: skip
    return vectorizer.transform(text[:characters] for text in texts)


def score(
    texts: Sequence[str], reference: Sequence[str], settings: QualitySettings, seed: int
) -> Scores:
    """How like the reference each text is: scores [texts], 1 for as good as its best 90 %."""
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    crawl = _features(texts, settings.characters)
    trusted = _features(reference, settings.characters)
    folds = rng(seed, "quality texts").permutation(len(texts)) % 2
    trusted_folds = rng(seed, "quality reference").permutation(len(reference)) % 2
    raw, raw_trusted = np.zeros(len(texts)), np.zeros(len(reference))
    for fold in (0, 1):
        old, old_trusted = folds != fold, trusted_folds != fold
        x = vstack([trusted[old_trusted], crawl[old]])
        y = np.repeat([1, 0], [old_trusted.sum(), old.sum()])
        model = LogisticRegression(
            C=STRENGTH, class_weight="balanced", solver="liblinear", random_state=0
        )
        model.fit(x, y)
        if not old.all():
            raw[~old] = model.predict_proba(crawl[~old])[:, 1]
        raw_trusted[~old_trusted] = model.predict_proba(trusted[~old_trusted])[:, 1]
    calibration = float(np.quantile(raw_trusted, REFERENCE_KEPT))
    kept = (2 - np.minimum(1.0, raw_trusted / calibration)) ** -settings.alpha
    return Scores(np.minimum(1.0, raw / calibration), calibration, float(np.mean(kept)))


def keep(text: str, value: float, settings: QualitySettings, seed: int) -> bool:
    """The Pareto rule; the draw depends on the text, so copies share their fate.

    A Lomax(alpha) draw exceeds 1 - score with probability (2 - score) ** -alpha.
    """
    return pyrandom(seed, "quality", text).random() < (2 - value) ** -settings.alpha
