"""Types with ranges, for annotating the YAML parameters of parts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
"""A whole number of at least 1: widths, dimensions, batch sizes, epochs."""

WholeNumber = Annotated[int, Field(ge=0)]
"""A whole number of at least 0: patiences."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed: a whole number of 32 bits."""

Rate = Annotated[float, Field(ge=0, lt=1)]
"""A share in [0, 1): dropout."""

Share = Annotated[float, Field(gt=0, le=1)]
"""A share in (0, 1]: batches of an epoch."""

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share in [0, 1]: parts of a split, momentum."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A finite number above 0: learning rates, scales."""

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A finite number of at least 0: weight decay."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number: thresholds."""
