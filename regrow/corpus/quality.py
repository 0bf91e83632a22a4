"""GPT-3's quality classifier: trusted text against the crawl, and the Pareto keep rule.

Brown et al. 2020, App. A: hashed words, logistic regression, and a document is kept where
`pareto(9) > 1 - score`. Two changes make it work where most of the crawl is good text, like the
reference: scores are cross-fitted (no page is scored by a model that saw it as a negative), and
divided by the score that 99 % of the reference reaches (learning from positive and unlabelled
text, Elkan & Noto 2008), so that a page like the reference is kept for sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regrow.corpus.page import Page
from regrow.corpus.quality_models import LEARNERS, Model
from regrow.corpus.settings import QualitySettings
from regrow.seeds import derive, pyrandom, rng

REFERENCE_KEPT = 0.01  # quantile of reference scores that counts as 1


@dataclass(frozen=True)
class Classifier:
    """Two models, each fitted to one half of the sample: a page is scored by the other one."""

    models: tuple[Model, Model]
    characters: int
    calibration: float  # the raw score that 99 % of the reference reaches
    reference_kept: float  # share of the reference, unseen, that the rule would keep

    def scores(self, pages: Sequence[Page]) -> list[float]:
        """How like the reference each page is, 1 for as good as its best 99 %: [pages]."""
        folds = np.asarray([_fold(page.id) for page in pages])
        raw = np.zeros(len(pages))
        for fold, model in enumerate(self.models):
            own = [page.text[: self.characters] for page in pages if _fold(page.id) == fold]
            if own:
                raw[folds == fold] = model.probabilities(own)
        return [round(float(value), 5) for value in np.minimum(1.0, raw / self.calibration)]


def _fold(id_: str) -> int:
    """The half that a page belongs to; copies of one page share it."""
    return derive("quality fold", id_) % 2


def learn(
    pages: Sequence[Page],
    reference: Sequence[str],
    settings: QualitySettings,
    seed: int,
    folder: Path,
) -> Classifier:
    """Fit the classifier to pages of the crawl (0) and trusted texts (1).

    `folder` is for what a model keeps on disk.
    """
    fit = LEARNERS[settings.model]
    crawl = [page.text[: settings.characters] for page in pages]
    trusted = [text[: settings.characters] for text in reference]
    folds = np.asarray([_fold(page.id) for page in pages])
    if len(set(folds.tolist())) < 2:
        folds = np.arange(len(pages)) % 2
    trusted_folds = rng(seed, "quality reference").permutation(len(reference)) % 2
    raw_trusted, models = np.zeros(len(reference)), []
    for fold in (0, 1):
        good = [text for text, own in zip(trusted, trusted_folds) if own != fold]
        raw = [text for text, own in zip(crawl, folds) if own != fold]
        model = fit(good + raw, [1] * len(good) + [0] * len(raw), folder / f"half-{fold}", seed)
        unseen = [text for text, own in zip(trusted, trusted_folds) if own == fold]
        raw_trusted[trusted_folds == fold] = model.probabilities(unseen)
        models.append(model)
    calibration = float(np.quantile(raw_trusted, REFERENCE_KEPT))
    kept = (2 - np.minimum(1.0, raw_trusted / calibration)) ** -settings.alpha
    return Classifier((models[0], models[1]), settings.characters, calibration, float(kept.mean()))


def keep(text: str, value: float, settings: QualitySettings, seed: int) -> bool:
    """The Pareto rule; the draw depends on the text, so copies share their fate.

    A Lomax(alpha) draw exceeds 1 - score with probability (2 - score) ** -alpha.
    """
    return pyrandom(seed, "quality", text).random() < (2 - value) ** -settings.alpha
