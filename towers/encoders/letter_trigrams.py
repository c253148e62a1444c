"""Word hashing: a text as the letter trigrams of its words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from towerzoo.datasets import UNKNOWN, Column
from towerzoo.registry import ENCODERS, INITIALIZERS, Spec
from towerzoo.registry.ranges import Count
from towerzoo.towers.encoders import Encoder
from towerzoo.towers.encoders.embedding import wrong_column
from towerzoo.towers.encoders.inputs import Input
from towerzoo.towers.layers.bag_sums import bag_sums
from towerzoo.towers.layers.initializers import initialize
from towerzoo.towers.layers.poolings import COUNT_POWERS, divide_by_count

NO_TRIGRAM: Final = -1
"""Pads lists of trigrams."""

_WORD: Final = re.compile(r"\w+")
_BITS: Final = 21
"""Bits of a Unicode code point; three of them fit into an int64."""


def letter_trigrams(text: str) -> list[str]:
    """Returns the letter trigrams of a text's words, in order and with repetitions.

    Words are lower-case, framed by `#`, and consist of letters, digits and underscores.

    Source: Huang et al., CIKM 2013, section 3.2.

    Example:
        >>> letter_trigrams("Good, I!")
        ['#go', 'goo', 'ood', 'od#', '#i#']
    """
    words = (f"#{word}#" for word in _WORD.findall(unicodedata.normalize("NFC", text.lower())))
    return [word[start : start + 3] for word in words for start in range(len(word) - 2)]


@ENCODERS.register("letter-trigrams")
class LetterTrigramEncoder(Encoder):
    """A learned vector for each letter trigram of a text, such as a title, summed over the text.

    This is the word hashing of the DSSM: new words, other endings and misspellings get vectors from the trigrams that
    they share. The unknown text, and texts without a known trigram, get zeros. Trigrams are saved with the weights.

    Args:
        column: The feature: ids (n,) of texts, such as the table's `title`.
        dim: Length of the vectors.
        pooling: `sum` as in the paper, or the sum divided by the number of the text's trigrams (`mean`) or by its
            square root (`sqrtn`), which keeps the vectors of long texts short.
        min_count: The number of distinct texts from which on a trigram is known.
        init: A registered initializer of the vectors; None uses the tower's.

    Raises:
        ConfigError: The feature holds lists or numbers.

    Source: Huang et al., CIKM 2013, section 3.2.

    Example:
        >>> from towerzoo.datasets import encode_column
        >>> titles = encode_column("title", ["Alien", "Aliens", "Ran"])
        >>> encoder = LetterTrigramEncoder(titles, dim=4, min_count=2)
        >>> encoder
        LetterTrigramEncoder(
          4 trigrams of 3 texts, sum
          (embedding): Embedding(4, 4)
        )
        >>> alien, aliens, ran = encoder(titles.values[1:])
        >>> bool((alien == aliens).all()), ran.tolist()
        (True, [0.0, 0.0, 0.0, 0.0])
    """

    sizes_vary = True
    trigrams: Tensor
    ids: Tensor
    starts: Tensor
    counts: Tensor

    def __init__(
        self,
        column: Column,
        *,
        dim: Count,
        pooling: Literal["sum", "mean", "sqrtn"] = "sum",
        min_count: Count = 1,
        init: Annotated[Spec, INITIALIZERS] | None = None,
    ) -> None:
        super().__init__(column)
        if column.vocabulary is None or column.is_list:
            raise wrong_column(column, "a text or single ids for encoder 'letter-trigrams'", "Name a text.")
        self.out_features = dim
        self.pooling = pooling
        # The unknown text comes first, and has no trigrams.
        bags = [[], *([_code(trigram) for trigram in letter_trigrams(str(text))] for text in column.vocabulary.values)]
        texts = Counter(code for bag in bags for code in set(bag))
        known = sorted(code for code, count in texts.items() if count >= min_count)
        self.register_buffer("trigrams", torch.tensor(known, dtype=torch.int64))
        self._codes: NDArray[np.int64] = np.array([code for bag in bags for code in bag], dtype=np.int64)
        self._lengths: NDArray[np.int64] = np.array([len(bag) for bag in bags])
        for name in ("ids", "starts", "counts"):
            self.register_buffer(name, None, persistent=False)
        self._encode_texts()
        self.register_load_state_dict_post_hook(_encode_again)  # type: ignore[no-untyped-call]
        self.embedding = nn.Embedding(len(known), dim)
        initialize(init or "torch-default", self.embedding.weight)

    def _encode_texts(self) -> None:
        """Maps the known trigrams of all texts to rows of the vectors."""
        known = self.trigrams.cpu().numpy()
        rows = np.searchsorted(known, self._codes)
        kept = np.append(known, -1)[rows] == self._codes
        text = np.repeat(np.arange(len(self._lengths)), self._lengths)
        counts = np.bincount(text[kept], minlength=len(self._lengths))
        for name, values in {"ids": rows[kept], "starts": np.cumsum(counts) - counts, "counts": counts}.items():
            setattr(self, name, torch.from_numpy(values).to(self.trigrams.device))

    def read(self, raw: Sequence[Any]) -> Tensor:
        """Returns the known trigrams (N, L) of any texts, as `forward` takes them.

        Example:
            >>> from towerzoo.datasets import encode_column
            >>> encoder = LetterTrigramEncoder(encode_column("title", ["Alien", "Ran"]), dim=4)
            >>> new = encoder(encoder.read(["Ran Alien"]))
            >>> torch.allclose(new[0], encoder(torch.tensor([1, 2])).sum(dim=0))
            True
        """
        numbers = {trigram: number for number, trigram in enumerate(self.known)}
        texts = [[numbers[trigram] for trigram in letter_trigrams(text or "") if trigram in numbers] for text in raw]
        return pad_sequence([torch.tensor(text, dtype=torch.int64) for text in texts], True, NO_TRIGRAM)

    def unknown_like(self, values: Tensor) -> Tensor:
        """Returns ids (B,) of the unknown text, or empty lists (B, L) of trigrams."""
        return torch.full_like(values, UNKNOWN if values.dim() == 1 else NO_TRIGRAM)

    def export_input(self, name: str) -> Input:
        """Returns an input of trigrams, so that a bundle has vectors for unseen texts too."""
        return Input(name, "trigrams", vocabulary=name, padding=NO_TRIGRAM)

    def export_vocabulary(self) -> tuple[int, Sequence[Any]]:
        """Returns the known trigrams."""
        return 0, self.known

    def forward(self, ids: Tensor) -> Tensor:
        """Maps ids of texts (B,), or trigrams (B, L) padded with `NO_TRIGRAM`, to vectors (B, dim)."""
        if ids.dim() == 2:
            return self._encode_trigrams(ids)
        counts = self.counts.index_select(0, ids)
        offsets = counts.cumsum(0) - counts
        shift = self.starts.index_select(0, ids) - offsets
        n = int(counts.sum())
        positions = torch.arange(n, device=ids.device) + shift.repeat_interleave(counts, output_size=n)
        sums = bag_sums(self.embedding.weight, self.ids.index_select(0, positions), offsets)
        return divide_by_count(sums, counts, COUNT_POWERS[self.pooling])

    def _encode_trigrams(self, ids: Tensor) -> Tensor:
        mask = ids != NO_TRIGRAM
        if self.embedding.num_embeddings == 0:
            return self.embedding.weight.new_zeros(ids.shape[0], self.out_features)
        vectors = self.embedding(ids.where(mask, 0))
        sums = (vectors * mask.unsqueeze(-1)).sum(dim=1)
        return divide_by_count(sums, mask.sum(dim=1), COUNT_POWERS[self.pooling])

    @property
    def known(self) -> list[str]:
        """The known trigrams, in the order of their ids."""
        shifts, mask = (2 * _BITS, _BITS, 0), (1 << _BITS) - 1
        return ["".join(chr(code >> shift & mask) for shift in shifts) for code in self.trigrams.tolist()]

    def extra_repr(self) -> str:
        """Returns the numbers of known trigrams and of texts."""
        return f"{len(self.trigrams)} trigrams of {len(self._lengths) - 1} texts, {self.pooling}"


def _code(trigram: str) -> int:
    first, second, third = map(ord, trigram)
    return first << 2 * _BITS | second << _BITS | third


def _encode_again(encoder: LetterTrigramEncoder, incompatible: Any) -> None:
    """Encodes the texts with the trigrams of a loaded state dict, which may differ."""
    encoder._encode_texts()
