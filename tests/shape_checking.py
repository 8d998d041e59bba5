"""The type checker that jaxtyping's import hook applies to every function of the package while testing."""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype

# The hook decorates functions one by one, where beartype cannot tell what `Self` is.
checked = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({Self: Any})))
