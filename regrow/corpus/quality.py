"""GPT-3's quality classifier: hashed words, logistic regression, Pareto keep rule.

Brown et al. 2020, App. A: trusted text against the raw crawl, keep a document where
`pareto(9) > 1 - score`. Two changes make it work where most of the crawl is good text, like the
reference: scores are cross-fitted (no page is scored by a model that saw it as a negative), and
divided by the score that 99 % of the reference reaches (learning from positive and unlabelled
text, Elkan & Noto 2008), so that a page like the reference is kept for sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regrow.corpus.page import Page
from regrow.corpus.settings import QualitySettings
from regrow.seeds import derive, pyrandom, rng

FEATURES = 1 << 18
STRENGTH = 0.3  # inverse regularisation; chosen on a crawl of known truth
REFERENCE_KEPT = 0.01  # quantile of reference scores that counts as 1


def _features(texts: Sequence[str], characters: int) -> Any:
    """Which hashed words and signs a text holds, at unit length: sparse [texts, FEATURES]."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        n_features=FEATURES, alternate_sign=False, norm="l2", binary=True,
        token_pattern=r"\w+|[^\w\s]", dtype=np.float32,
    )  # fmt: skip
    return vectorizer.transform(text[:characters] for text in texts)


@dataclass(frozen=True)
class Classifier:
    """Two models, each fitted to one half of the sample: a page is scored by the other one."""

    models: tuple[Any, Any]
    characters: int
    calibration: float  # the raw score that 99 % of the reference reaches
    reference_kept: float  # share of the reference, unseen, that the rule would keep

    def scores(self, pages: Sequence[Page]) -> list[float]:
        """How like the reference each page is, 1 for as good as its best 99 %: [pages]."""
        if not pages:
            return []
        features = _features([page.text for page in pages], self.characters)
        folds = np.asarray([_fold(page.id) for page in pages])
        raw = np.zeros(len(pages))
        for fold, model in enumerate(self.models):
            if (folds == fold).any():
                raw[folds == fold] = model.predict_proba(features[folds == fold])[:, 1]
        return [round(float(value), 5) for value in np.minimum(1.0, raw / self.calibration)]


def _fold(id_: str) -> int:
    """The half that a page belongs to; copies of one page share it."""
    return derive("quality fold", id_) % 2


def learn(
    pages: Sequence[Page], reference: Sequence[str], settings: QualitySettings, seed: int
) -> Classifier:
    """Fit the classifier to pages of the crawl (0) and trusted texts (1)."""
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    crawl = _features([page.text for page in pages], settings.characters)
    trusted = _features(reference, settings.characters)
    folds = np.asarray([_fold(page.id) for page in pages])
    if len(set(folds.tolist())) < 2:
        folds = np.arange(len(pages)) % 2
    trusted_folds = rng(seed, "quality reference").permutation(len(reference)) % 2
    raw_trusted, models = np.zeros(len(reference)), []
    for fold in (0, 1):
        old, old_trusted = folds != fold, trusted_folds != fold
        x = vstack([trusted[old_trusted], crawl[old]])
        y = np.repeat([1, 0], [old_trusted.sum(), old.sum()])
        model = LogisticRegression(
            C=STRENGTH, class_weight="balanced", solver="liblinear", random_state=0
        )
        models.append(model.fit(x, y))
        raw_trusted[~old_trusted] = model.predict_proba(trusted[~old_trusted])[:, 1]
    calibration = float(np.quantile(raw_trusted, REFERENCE_KEPT))
    kept = (2 - np.minimum(1.0, raw_trusted / calibration)) ** -settings.alpha
    return Classifier((models[0], models[1]), settings.characters, calibration, float(kept.mean()))


def keep(text: str, value: float, settings: QualitySettings, seed: int) -> bool:
    """The Pareto rule; the draw depends on the text, so copies share their fate.

    A Lomax(alpha) draw exceeds 1 - score with probability (2 - score) ** -alpha.
    """
    return pyrandom(seed, "quality", text).random() < (2 - value) ** -settings.alpha
