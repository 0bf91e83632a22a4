"""What tells trusted texts from the crawl: logistic regression on hashed words, or fastText."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from regrow.errors import RegrowError
from regrow.seeds import derive, rng

FEATURES = 1 << 18
STRENGTH = 0.3  # inverse regularisation; chosen on a crawl of known truth

# fastText: Joulin et al. 2016, words and bigrams; as DCLM's classifier (Li et al. 2024, sec. 4.4)
# with a smaller table, for its samples are of fifty thousand documents at most.
BUCKETS = 1 << 18
WIDTH = 16
EPOCHS = (5, 50)  # at least and at most
EXAMPLES = 30_000  # texts to learn from, again and again if there are fewer; chosen as above
_LABEL = "@@"  # two signs, so no word of a text begins with it
_WORD = re.compile(r"\w+|[^\w\s]")


class Model(Protocol):
    """Something that was fitted; sent to workers."""

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """How likely each text is to be one of the trusted: float64 [texts]."""
        ...


Learner = Callable[[Sequence[str], Sequence[int], Path, int], Model]


@dataclass(frozen=True)
class Logistic:
    """Which hashed words and signs a text holds, at unit length, and their weights."""

    fitted: Any

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """How likely each text is to be one of the trusted: float64 [texts]."""
        return np.asarray(self.fitted.predict_proba(_hashed(texts))[:, 1])


def _hashed(texts: Sequence[str]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        n_features=FEATURES, alternate_sign=False, norm="l2", binary=True,
        token_pattern=_WORD.pattern, dtype=np.float32,
    )  # fmt: skip
    return vectorizer.transform(texts)


def logistic(texts: Sequence[str], labels: Sequence[int], path: Path, seed: int) -> Logistic:
    """GPT-3's: fitted to texts that are trusted (1) or not (0); nothing is kept at `path`."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=STRENGTH, class_weight="balanced", solver="liblinear", random_state=0
    )
    return Logistic(model.fit(_hashed(texts), labels))


@dataclass(frozen=True)
class FastText:
    """A model of fastText's, by its file: workers read it where they use it."""

    path: Path

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """How likely each text is to be one of the trusted: float64 [texts]."""
        labels, shares = (
            load_fasttext().load_model(str(self.path)).predict(list(map(_line, texts)), k=2)
        )
        told = [dict(zip(own, share)) for own, share in zip(labels, shares)]
        return np.asarray([float(own.get(f"{_LABEL}1", 0.0)) for own in told])


def load_fasttext() -> Any:
    """The library. Raises RegrowError where it is not installed."""
    try:
        import fasttext
    except ImportError as error:
        raise RegrowError(
            "corpus.quality.model is fasttext, which is not installed; "
            "pip install 'regrow[fasttext]'"
        ) from error
    return fasttext


def _line(text: str) -> str:
    words = " ".join(_WORD.findall(text.lower()))
    return words.encode("utf-8", "replace").decode()


def fasttext(texts: Sequence[str], labels: Sequence[int], path: Path, seed: int) -> FastText:
    """Fitted to texts that are trusted (1) or not (0) and kept at `path`.

    Both kinds are shown equally often. One thread, so the same texts give the same bytes.
    """
    library = load_fasttext()
    kinds = [np.flatnonzero(np.asarray(labels) == kind) for kind in (0, 1)]
    most = max(map(len, kinds))
    order = np.concatenate([np.resize(own, most) for own in kinds])
    order = rng(seed, "quality fasttext").permutation(order)
    epochs = int(np.clip(EXAMPLES // len(order), *EPOCHS))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent) as file:
        file.writelines(f"{_LABEL}{labels[i]} {_line(texts[i])}\n" for i in order)
        file.flush()
        model = library.train_supervised(
            input=file.name, label=_LABEL, thread=1, seed=derive(seed, "fasttext") % (1 << 31),
            dim=WIDTH, wordNgrams=2, bucket=BUCKETS, minCount=1, lr=0.1, epoch=epochs, verbose=0,
        )  # fmt: skip
    model.save_model(str(path))
    return FastText(path)


#: By the name that `corpus.quality.model` has for it.
LEARNERS: Mapping[str, Learner] = {"logistic": logistic, "fasttext": fasttext}
