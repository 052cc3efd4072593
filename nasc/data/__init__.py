"""Plain text to distil on."""

from nasc.data.corpus import (
    MINIMUM_SENTENCES,
    Corpus,
    corpus_from_sentences,
    load_corpus,
    stream_text,
)

__all__ = ["MINIMUM_SENTENCES", "Corpus", "corpus_from_sentences", "load_corpus", "stream_text"]
