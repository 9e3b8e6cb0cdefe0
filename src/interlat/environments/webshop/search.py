"""Search by BM25 over what is written about the products."""

from collections.abc import Sequence

from interlat.environments.webshop.products import Product

MOST_FOUND = 50
K1, B = 0.9, 0.4
"""Defaults of Pyserini, which the published shop searches with."""


class SearchIndex:
    """Products by the words of title, description, first feature and options.

    BM25 as Lucene has it, with its stop words; words are not stemmed, as they are in the published shop.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        from bm25s import BM25

        self._products = products
        # The backend is named: the library takes another one where it finds it, which may add up in another order.
        self._index = BM25(k1=K1, b=B, method="lucene", backend="numpy", csc_backend="numpy")
        self._index.index(_words([document(product) for product in products]), show_progress=False)

    def search(self, query: str) -> list[Product]:
        """The best products, at most 50; of equal ones those that come first in the shop. Empty if no word is known."""
        words = [word for word in _words([query])[0] if word in self._index.vocab_dict]
        if not words:
            return []
        scores = self._index.get_scores(words)
        best = (-scores).argsort(kind="stable")[:MOST_FOUND]
        return [self._products[place] for place in best if scores[place] > 0]


def document(product: Product) -> str:
    """What a search looks in."""
    options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in product.options.items())
    return " ".join([product.title, product.description, *product.features[:1], options]).lower()


def _words(texts: Sequence[str]) -> list[list[str]]:
    from bm25s import tokenize

    words: list[list[str]] = tokenize(list(texts), stopwords="en", stemmer=None, return_ids=False, show_progress=False)
    return words
