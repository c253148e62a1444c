"""The best items for users by the dot product of vectors: exact search, FAISS, Qdrant, and the items already seen.

An index (`INDEXES`) is called with `item_vectors` (I, F), the factors of each row of the items table. Scale and biases
are inside the factors, so the dot product with a user's factors is the logit. It returns an object with the methods
`search`, `add`, `save` and `load` of `exact_index.Index`, and keeps all vectors in its attribute `item_vectors`. It may
use `over_fetching.over_fetch` to leave out seen items and filters if its library cannot.
"""
