"""E6: opinions in film reviews, by one convolution over words and a maximum over time."""

import time

import numpy as np

import unrolled as ur
from unrolled.data import load_sentence_polarity
from unrolled.recipes.experiment import Found, Row, check_whole

__all__ = ["reviews"]

FOLDS = 10


def reviews(seeds: int, quick: bool) -> Found:
    """E6: the decks' network with learned word vectors, on ten folds of the sentence polarity data, by each seed."""
    from sklearn.model_selection import StratifiedKFold

    what = "Conv1D(250, 3), global maximum, Dense(250): ten folds"
    if quick:
        yield Row("E6", what, "accuracy", 0.759, (), note="left out by --quick", lower=False)
        return
    sentences, opinions = load_sentence_polarity()
    texts = np.asarray(sentences, object)
    start, found = time.perf_counter(), []
    for seed in range(seeds):
        scores = []
        for learn, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(texts, opinions):
            training = ur.Training(epochs=2, batch_size=32, clip_norm=None)
            classifier = ur.SequenceClassifier(
                "conv", filters=250, kernel_size=3, hidden=250, dropout=0.2, embedding_size=300, max_steps=400,
                bag_of_words=False, min_count=1, members=1, seed=seed, training=training,
            )  # fmt: skip
            classifier.fit(texts[learn], opinions[learn], progress=False)
            check_whole(classifier.run_)
            scores.append(classifier.score(texts[test], opinions[test]))
        found.append(float(np.mean(scores)))
    note = "published: CNN-rand of harvardnlp/sent-conv-torch, the same family of networks"
    yield Row("E6", what, "accuracy", 0.759, tuple(found), time.perf_counter() - start, note, lower=False)
